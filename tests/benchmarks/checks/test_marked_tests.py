"""The marked tests of a checkout, run as a check."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from starcast.benchmarks.checks import marked_tests as module
from starcast.benchmarks.checks.check import NotRunError, WrongError
from starcast.benchmarks.checks.marked_tests import run_marked_tests


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with the project's own settings of pytest and these tests."""

    def of(tests: str) -> Path:
        shutil.copy(Path(__file__).parents[3] / "pyproject.toml", tmp_path)
        (tmp_path / "tests" / "room").mkdir(parents=True)
        (tmp_path / "tests" / "room" / "test_marked.py").write_text(
            "import warnings\nfrom pytest import mark\n" + tests
        )
        (tmp_path / "tests" / "test_broken.py").write_text("import of_a_package_that_is_not_here")
        monkeypatch.setattr(module, "__file__", str(tmp_path / "benchmarks" / "checks" / "marked_tests.py"))
        return tmp_path

    return of


def test_the_marked_tests_of_the_checkout_are_run_and_a_warning_fails_none(checkout):
    folder = checkout("@mark.gpu\ndef test_a(): warnings.warn('new')\n\ndef test_b(): assert False\n")
    assert run_marked_tests(folder)["summary"].startswith("1 passed, 1 deselected, 1 warning in ")


def test_marked_tests_that_fail_are_named(checkout):
    folder = checkout("@mark.gpu\ndef test_a(): pass\n\n@mark.gpu\ndef test_b(): assert 1 == 2\n")
    with pytest.raises(WrongError, match=r"^1 failed, 1 passed in .*; FAILED tests/room/test_marked.py::test_b - ass"):
        run_marked_tests(folder)


@pytest.mark.parametrize(
    ("tests", "reason"),
    [("@mark.gpu\n@mark.skip\ndef test_a(): pass\n", "1 skipped in"), ("# mark.gpu\n", "no test is marked gpu")],
    ids=["skipped", "none"],
)
def test_without_a_marked_test_that_ran_there_is_no_answer(checkout, tests, reason):
    with pytest.raises(NotRunError, match=reason):
        run_marked_tests(checkout(tests))


def test_the_checkout_is_this_one_from_wherever_it_is_run(tmp_path, monkeypatch):
    commands = []

    def run(command, cwd, **_):
        commands.append((command, cwd))
        return SimpleNamespace(returncode=0, stdout="3 passed in 1s\n")

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    assert run_marked_tests(tmp_path) == {"summary": "3 passed in 1s"}
    [(command, cwd)] = commands
    assert cwd == Path(__file__).parents[3]
    assert str(cwd / "tests" / "train" / "test_adain.py") in command


def test_an_installed_package_has_no_tests_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "starcast" / "benchmarks" / "checks" / "marked_tests.py"))
    with pytest.raises(NotRunError, match="this is no checkout"):
        run_marked_tests(tmp_path)
