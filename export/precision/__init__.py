"""Precisions below float32: int8 and fp8 by calibration and search, half precision by emulation."""
