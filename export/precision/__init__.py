"""Smaller numbers: int8 by calibration and search, bf16 by measuring, and the gate that both must pass."""
