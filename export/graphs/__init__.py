"""Graphs apart from what they compute: facts, constants, shapes, cost, and files."""
