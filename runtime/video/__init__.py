"""A video file in, an H.264 file out."""
