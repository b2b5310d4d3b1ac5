"""`starcast generate`: images from seeds, with a bundle that needs no source."""
