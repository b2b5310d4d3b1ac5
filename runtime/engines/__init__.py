"""The engines, one per module, behind the interface in base.py."""
