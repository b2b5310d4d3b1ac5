"""How good translations are, measured on held-out images whose truth is known."""
