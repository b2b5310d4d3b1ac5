"""The engines, one a module, behind the interface in base.py."""
