"""What a film is written to: codecs, containers, and the tracks beside the frames."""
