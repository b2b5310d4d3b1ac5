"""Tools for any graph, whatever it computes: facts, constants, shapes, cost and files."""
