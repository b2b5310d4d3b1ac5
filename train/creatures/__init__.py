"""The procedural data set: drawn creatures of several domains."""
