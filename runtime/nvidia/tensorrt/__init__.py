"""TensorRT in both flavours: engines are built from a bundle in a child process, and stored in the user's cache."""
