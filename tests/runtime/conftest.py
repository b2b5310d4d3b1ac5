"""Pictures as cameras, scanners and the web really give them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def odd_pictures() -> ModuleType:
    """The module odd_pictures.py: one scene in every format, and files that cannot be read."""
    path = Path(__file__).with_name("odd_pictures.py")
    spec = importlib.util.spec_from_file_location("odd_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
