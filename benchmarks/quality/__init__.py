"""How good translations are, measured on held-out images with known ground truth."""
