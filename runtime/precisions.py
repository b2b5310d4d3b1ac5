"""The names of all precisions that a variant may have. What each must reach is export's: see export/precisions.py."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
