"""Where live frames go."""
