"""The kernels against float64, on the CPU. Triton's interpreter is chosen when triton is imported, and then holds for
the whole process: so `interpreted_adain.py` has one of its own, and each of its tests is reported here."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

FILE = Path(__file__).with_name("interpreted_adain.py")
REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = [
    node.name for node in ast.parse(FILE.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What went wrong in each test, by its name; an empty list where nothing did."""
    record = tmp_path_factory.mktemp("interpreted") / "record.xml"
    command = [sys.executable, "-m", "pytest", FILE, "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={record}"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert record.is_file(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(record).iter("testcase"):
        wrong = [case.get("name", "") + "\n" + (part.text or "") for part in case if part.tag != "properties"]
        found.setdefault(case.get("name", "").partition("[")[0], []).extend(wrong)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_under_the_interpreter(name: str, failures: dict[str, list[str]]) -> None:
    assert name in failures
    assert not failures[name], "\n".join(failures[name])
