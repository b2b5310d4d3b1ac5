"""`make gpu-check`: what only an NVIDIA GPU can show, one question per check."""
