"""Training files, ours and others'."""
