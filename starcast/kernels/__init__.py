"""Kernels for NVIDIA GPUs, written in Triton. They know numbers and pointers, and nothing of networks or bundles."""
