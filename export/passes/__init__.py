"""Exact rewrites of frame graphs. Each file is one idea: a pattern, when it does not apply, and its replacement."""
