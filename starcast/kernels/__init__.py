"""Kernels for NVIDIA cards, written in Triton. They know numbers and pointers, and nothing of networks or bundles."""
