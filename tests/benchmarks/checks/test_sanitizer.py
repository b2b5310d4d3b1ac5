"""What compute-sanitizer's output means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from starcast.benchmarks.checks import sanitizer as module
from starcast.benchmarks.checks.check import NotRunError, WrongError
from starcast.benchmarks.checks.sanitizer import sanitize_kernel


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
