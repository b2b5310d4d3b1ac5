"""Makes the frame graphs for each engine."""
