from __future__ import annotations

import subprocess
import sys

import pytest

from starcast import runtime


def test_public_names_are_sorted_and_exist():
    assert runtime.__all__ == sorted(runtime.__all__)
    assert all(hasattr(runtime, name) for name in runtime.__all__)
    assert dir(runtime) == runtime.__all__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute nonsense"):
        _ = runtime.nonsense


def test_importing_the_runtime_loads_nothing_heavy():
    code = "import sys, starcast.runtime; print({'numpy', 'PIL', 'msgspec', 'openvino'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
