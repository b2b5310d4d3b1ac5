"""Decides whether a graph is kept, by comparing it with PyTorch or with float32."""
