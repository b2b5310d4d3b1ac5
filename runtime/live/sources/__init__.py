"""Where live frames come from."""
