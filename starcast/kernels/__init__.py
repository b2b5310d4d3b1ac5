"""Kernels for NVIDIA GPUs, written in Triton. They know numbers and pointers, not networks or bundles."""
