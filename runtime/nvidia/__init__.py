"""Memory, streams and events of an NVIDIA card, without torch."""
