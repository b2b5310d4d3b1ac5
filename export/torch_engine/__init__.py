"""The engine that runs a bundle's graphs in PyTorch."""
