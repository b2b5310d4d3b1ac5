"""Benchmarks, studies, GPU checks and the demo."""
