"""What each engine's graphs are made of."""
