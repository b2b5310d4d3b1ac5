"""TensorRT in both flavours: engines are built from a bundle in a child process, and kept in a cache of the user."""
