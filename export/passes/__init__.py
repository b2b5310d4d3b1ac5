"""Exact rewrites of frame graphs: pattern, reasons against it, and what it becomes; one idea a file."""
