"""What decides whether a graph is written: it is compared with PyTorch, or with float32."""
