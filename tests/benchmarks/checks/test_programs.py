"""What compute-sanitizer's output means."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from starcast.benchmarks.checks import programs as module
from starcast.benchmarks.checks.check import NotRunError, WrongError
from starcast.benchmarks.checks.programs import run_marked_tests, sanitize_kernel


def test_a_sanitizer_that_is_not_there_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotRunError, match="compute-sanitizer is not on the path"):
        sanitize_kernel(tmp_path)


CLEAN = {
    "memcheck": "========= COMPUTE-SANITIZER\n{ran}\n========= ERROR SUMMARY: 0 errors\n",
    "racecheck": "========= COMPUTE-SANITIZER\n{ran}\n"
    "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
}


@pytest.fixture
def sanitizer(monkeypatch):
    """A compute-sanitizer that ends with a status and says this, of which {ran} is the program's own; gives the
    commands that it gets."""
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/cuda/{name}")
    monkeypatch.setattr(module, "require_torch_gpu", lambda: None)

    def saying(status: int = 0, complaints: str = "", **said: str) -> list[list[str]]:
        commands = []

        def run(command, **_):
            commands.append(command)
            told = (CLEAN | said)[command[2]].format(ran=module.ALL_RAN)
            return SimpleNamespace(returncode=status, stdout=told, stderr=complaints)

        monkeypatch.setattr(module.subprocess, "run", run)
        return commands

    return saying


def test_a_kernel_that_both_tools_find_clean_passes(sanitizer, tmp_path):
    commands = sanitizer(complaints="UserWarning: a library's\n")
    assert sanitize_kernel(tmp_path) == {"tools": ["memcheck", "racecheck"]}
    for command, tool in zip(commands, CLEAN, strict=True):
        assert command[:3] == ["/cuda/compute-sanitizer", "--tool", tool]
        assert "--report-api-errors no" in " ".join(command)
        assert f'print("{module.ALL_RAN}")' in command[-1]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"status": 9, "memcheck": "========= Invalid __global__ read of size 2 bytes\n=========     at norm+0x80\n"
                                      "{ran}\n========= ERROR SUMMARY: 1 error\n"},
            "memcheck ended with status 9: Invalid __global__ read of size 2 bytes",
        ),
        ({"racecheck": "{ran}\n"}, "racecheck ended with status 0: every norm has run"),
        (
            {"memcheck": "========= Error: Target application terminated before first instrumented API call\n"},
            "memcheck ended with status 0: Error: Target application terminated before first instrumented API call",
        ),
        (
            {"memcheck": "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", "complaints": "no card\n"},
            "memcheck ended with status 0: no card",
        ),
    ],
    ids=["an error", "no summary", "nothing watched", "nothing run"],
)  # fmt: skip
def test_a_sanitizer_that_found_something_or_saw_nothing_has_failed(sanitizer, tmp_path, said, reason):
    sanitizer(**said)
    with pytest.raises(WrongError) as raised:
        sanitize_kernel(tmp_path)
    assert str(raised.value) == reason


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
        monkeypatch.setattr(module, "__file__", str(tmp_path / "benchmarks" / "checks" / "programs.py"))
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
    monkeypatch.setattr(module, "__file__", str(tmp_path / "starcast" / "benchmarks" / "checks" / "programs.py"))
    with pytest.raises(NotRunError, match="this is not a checkout"):
        run_marked_tests(tmp_path)
