"""Studies: one question each, the command that answers it, and its record under `benchmarks/results/`."""
