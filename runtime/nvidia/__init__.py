"""Memory, streams and events of an NVIDIA GPU, without torch."""
