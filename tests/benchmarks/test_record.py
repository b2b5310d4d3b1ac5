"""A record says which commit its figures come from, and whether the code differed from it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from starcast.benchmarks.record import commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with a module and a record."""
    for name in ("benchmarks/bench.py", "benchmarks/results/bench.json", "pyproject.toml"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return tmp_path


def test_a_clean_checkout_has_the_bare_commit(checkout):
    assert re.fullmatch(r"[0-9a-f]{12}", commit(checkout / "benchmarks"))


@pytest.mark.parametrize("name", ["benchmarks/results/bench.json", "benchmarks/results/chart.png", "model.pt"])
def test_a_record_that_is_being_rewritten_does_not_count_as_a_change(checkout, name):
    (checkout / name).write_text("two\n")
    assert not commit(checkout / "benchmarks").endswith("+")


@pytest.mark.parametrize("name", ["benchmarks/bench.py", "benchmarks/new.py", "pyproject.toml"])
def test_changed_and_new_code_is_marked(checkout, name):
    (checkout / name).write_text("two\n")
    assert commit(checkout / "benchmarks").endswith("+")


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) is None
