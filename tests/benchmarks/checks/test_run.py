"""The runner of the checks: each in its own process, none stops the others, and what becomes of them is told."""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from starcast.benchmarks import record
from starcast.benchmarks.checks import run as module
from starcast.benchmarks.checks.check import Check, NotRunError, WrongError
from starcast.benchmarks.checks.run import Answer, main, run_all, run_apart, run_check
from starcast.benchmarks.checks.table import PREPARE
from starcast.errors import EngineError
from starcast.runtime.nvidia.driver import Gpu

ADA = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")
HOPPER = Gpu("NVIDIA H100", (9, 0), "13.0")
# a check that starts another process, which holds a pipe open as one of its kind would the card
STARTS_ANOTHER = """
import subprocess, sys, time
holds = "import sys, time; pipe = open(sys.argv[1], 'wb', 0); pipe.write(b'.'); print(flush=True); time.sleep(99)"
other = subprocess.Popen([sys.executable, "-c", holds, {pipe!r}], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
other.stdout.readline()
{then}
"""


def raising(error: Exception):
    def answer(folder: Path):
        raise error

    return answer


def printing(code: str) -> list[str]:
    """A process that runs some Python in place of a check."""
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda folder: {"error": 0.1}, Answer("passed", figures={"error": 0.1})),
        (raising(NotRunError("no card")), Answer("not run", "no card")),
        (raising(WrongError("wrong numbers")), Answer("failed", "wrong numbers")),
        (raising(EngineError("no memory")), Answer("failed", "no memory")),
        (raising(KeyError("x")), Answer("failed", "KeyError: 'x'")),
    ],
    ids=["figures", "no answer", "wrong", "an engine's error", "a mistake"],
)
def test_whatever_a_check_does_is_an_answer(tmp_path, answer, expected):
    assert run_check(Check("any", answer), tmp_path) == expected


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ('print(\'noise\'); print(\'{"status": "passed", "reason": null, "figures": {"a": 1}}\')', "passed", None),
        ("import os; os.abort()", "failed", "the process ended by SIGABRT: it printed nothing"),
        (
            'import os; print(\'{"status": "passed"}\', flush=True); os.abort()',
            "failed",
            "the process ended by SIGABRT: it printed nothing",
        ),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "failed", "the process ended with status 3: why"),
        ("print('[]')", "failed", "the process ended with status 0: it printed nothing"),
    ],
    ids=["an answer", "a crash", "a crash at its end", "an error", "something else"],
)
def test_a_process_that_ends_in_any_way_is_an_answer(tmp_path, code, status, reason):
    answer = run_apart(Check("any", lambda folder: {}), tmp_path, printing(code))
    assert (answer.status, answer.reason) == (status, reason)


def test_what_a_library_says_behind_the_answer_is_passed_over(tmp_path):
    code = "print('hello'); print('{\"status\": \"passed\"}'); print('freed'); print()"
    assert run_apart(Check("any", lambda folder: {}), tmp_path, printing(code)) == Answer("passed")


def test_a_process_that_hangs_is_ended(tmp_path):
    check = Check("any", lambda folder: {}, timeout_s=0.5)
    answer = run_apart(check, tmp_path, printing("import time; time.sleep(60)"))
    assert answer == Answer("failed", "it did not end within 0.5 s")


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX's")
@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("time.sleep(99)", "it did not end within 3 s"),
        ("sys.exit('why')", "the process ended with status 1: why"),
    ],
    ids=["too slow", "an error"],
)
def test_what_a_process_started_ends_with_it(tmp_path, then, reason):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    code = STARTS_ANOTHER.format(pipe=str(pipe), then=then)
    try:
        answer = run_apart(Check("any", lambda folder: {}, timeout_s=3), tmp_path, printing(code))
        assert answer == Answer("failed", reason)
        assert os.read(held, 1) == b"."
        assert select.select([held], [], [], 10)[0], "it still runs"
        assert os.read(held, 1) == b""
    finally:
        os.close(held)


def test_a_process_is_told_the_check_and_the_folder(tmp_path):
    code = "import json, sys; print(json.dumps({'status': 'passed', 'figures': {'told': sys.argv[1:]}}))"
    answer = run_apart(Check("leaks: x", lambda folder: {}), tmp_path, printing(code))
    assert answer.figures == {"told": ["--run", "leaks: x", "--folder", str(tmp_path)]}


def test_no_check_stops_the_others(tmp_path):
    checks = [Check(name, lambda folder: {}) for name in "abc"]
    lines: list[str] = []

    def ask(check: Check, _: Path) -> Answer:
        return Answer("failed", "why") if check.name == "a" else Answer("passed")

    answers = list(run_all(checks, tmp_path, lines.append, ask))
    assert [(name, answer.status) for name, answer in answers] == [("a", "failed"), ("b", "passed"), ("c", "passed")]
    assert lines == ["failed   a: why", "passed   b", "passed   c"]


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Checks that give these answers, on a GPU; what runs, and for how long at most, is in the list that it gives."""
    monkeypatch.setattr(module, "gpu_state", lambda: None)

    def use(
        gpu: Gpu = ADA,
        sources: str = "0123456789ab",
        torch: str = "2.11.0",
        **answers: Answer | type[KeyboardInterrupt],
    ) -> list[tuple[str, float]]:
        ran: list[tuple[str, float]] = []

        def ask(check: Check, folder: Path) -> Answer:
            ran.append((check.name, check.timeout_s))
            answer = answers[check.name]
            if isinstance(answer, type):
                raise answer
            return answer

        monkeypatch.setattr(module, "current_gpu", lambda: gpu)
        monkeypatch.setattr(record, "sources", lambda: sources)
        monkeypatch.setattr(record, "PACKAGES", ("torch",))
        monkeypatch.setattr(record, "version", lambda name: torch)
        monkeypatch.setattr(module, "CHECKS", tuple(Check(name, lambda folder: {}) for name in answers))
        monkeypatch.setattr(module, "run_all", lambda checks, folder, say: run_all(checks, folder, say, ask))
        return ran

    return use


def statuses(report: Path) -> dict[str, str]:
    return {one["name"]: one["status"] for one in json.loads(report.read_text())["checks"]}


def test_the_report_holds_the_gpu_and_every_answer(on_a_gpu, tmp_path):
    on_a_gpu(first=Answer("passed", figures={"error": 0.5}), second=Answer("not run", "refused: sm90"))
    result = CliRunner().invoke(main, ["--json", str(tmp_path / "report.json")])
    assert result.exit_code == 0
    assert result.output == "passed   first\nnot run  second: refused: sm90\n2 checks, 0 failed\n"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["gpu"] == {"name": "NVIDIA RTX 4090", "architecture": "sm89", "cuda": "13.0", "state": None}
    assert report["command"].startswith("python -m starcast.benchmarks.checks")
    assert report["checks"] == [
        {"name": "first", "status": "passed", "reason": None, "figures": {"error": 0.5}},
        {"name": "second", "status": "not run", "reason": "refused: sm90", "figures": {}},
    ]
    assert {"versions", "commit", "date"} <= report.keys()


def test_a_second_run_keeps_the_answers_of_the_checks_that_it_does_not_run(on_a_gpu, tmp_path):
    report = tmp_path / "report.json"
    on_a_gpu(first=Answer("passed"), second=Answer("failed", "why"), third=Answer("passed"))
    CliRunner().invoke(main, ["--json", str(report), "--only", "first", "--only", "second"])
    assert statuses(report) == {"first": "passed", "second": "failed"}
    ran = on_a_gpu(first=Answer("failed", "why"), second=Answer("passed"), third=Answer("passed"))
    result = CliRunner().invoke(main, ["--json", str(report), "--only", "third", "--only", "second"])
    assert (result.exit_code, result.output) == (0, "passed   second\npassed   third\n2 checks, 0 failed\n")
    assert [name for name, _ in ran] == ["second", "third"]
    assert statuses(report) == {"first": "passed", "second": "passed", "third": "passed"}


@pytest.mark.parametrize(
    ("other", "here"),
    [
        ({"gpu": HOPPER}, "NVIDIA H100 (sm90, CUDA 13.0), code 0123456789ab, torch 2.11.0"),
        ({"sources": "fedcba987654"}, "NVIDIA RTX 4090 (sm89, CUDA 13.0), code fedcba987654, torch 2.11.0"),
        ({"torch": "2.12.0"}, "NVIDIA RTX 4090 (sm89, CUDA 13.0), code 0123456789ab, torch 2.12.0"),
    ],
    ids=["gpu", "code", "versions"],
)
def test_answers_of_another_gpu_or_code_are_given_up(on_a_gpu, tmp_path, other, here):
    report = tmp_path / "report.json"
    on_a_gpu(first=Answer("passed"), second=Answer("passed"))
    CliRunner().invoke(main, ["--json", str(report)])
    on_a_gpu(first=Answer("passed"), second=Answer("passed"), **other)
    result = CliRunner().invoke(main, ["--json", str(report), "--only", "second"])
    assert result.output.splitlines()[0] == (
        f"{report} is of NVIDIA RTX 4090 (sm89, CUDA 13.0), code 0123456789ab, torch 2.11.0; this is {here}: "
        "starting over"
    )
    assert statuses(report) == {"second": "passed"}


@pytest.mark.parametrize("content", ["", "[]", '{"checks": [{"name": "first"}]}', '{"checks": []}'])
def test_a_file_that_is_no_report_is_replaced(on_a_gpu, tmp_path, content):
    report = tmp_path / "report.json"
    report.write_text(content)
    on_a_gpu(first=Answer("passed"))
    result = CliRunner().invoke(main, ["--json", str(report)])
    assert result.output.splitlines()[0] == f"{report} is not a report of these checks: starting over"
    assert statuses(report) == {"first": "passed"}


def test_what_ends_a_run_leaves_the_answers_that_were_given(on_a_gpu, tmp_path):
    report = tmp_path / "report.json"
    on_a_gpu(first=Answer("passed"), second=Answer("passed"))
    CliRunner().invoke(main, ["--json", str(report), "--only", "second"])
    on_a_gpu(first=Answer("failed", "why"), second=KeyboardInterrupt)
    result = CliRunner().invoke(main, ["--json", str(report)])
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "Aborted!")
    assert statuses(report) == {"first": "failed", "second": "passed"}


def test_no_check_takes_more_than_the_longest(on_a_gpu, monkeypatch):
    ran = on_a_gpu(first=Answer("passed"), second=Answer("passed"))
    slow, quick = (Check("first", lambda folder: {}, 1800), Check("second", lambda folder: {}, 60))
    monkeypatch.setattr(module, "CHECKS", (slow, quick))
    CliRunner().invoke(main, ["--longest", "300"])
    CliRunner().invoke(main, [])
    assert ran == [("first", 300), ("second", 60), ("first", 1800), ("second", 60)]


def test_a_name_that_no_check_has_is_wrong_use():
    result = CliRunner().invoke(main, ["--only", "leaks", "--only", "no such check"])
    assert result.exit_code == 2
    assert "no check's name contains 'no such check'" in result.output


def test_one_that_failed_makes_the_exit_status_1(on_a_gpu):
    on_a_gpu(first=Answer("failed", "why"), second=Answer("passed"))
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "2 checks, 1 failed")


def test_without_a_gpu_it_is_one_sentence_and_2(monkeypatch):
    monkeypatch.setattr(module, "current_gpu", lambda: None)
    monkeypatch.setattr(module, "why_no_gpu", lambda: "no NVIDIA driver is installed")
    result = CliRunner().invoke(main, ["--json", "nowhere.json"])
    assert result.exit_code == 2
    assert result.output == (
        "Error: there is no NVIDIA GPU to check (no NVIDIA driver is installed): run it on a machine with one\n"
    )


def test_checks_are_named_once_and_cover_what_was_promised():
    names = [check.name for check in module.CHECKS]
    assert len(names) == len(set(names))
    for word in (
        "accepts: tensorrt-rtx",
        "accepts: tensorrt",
        "parity: tensorrt fp8",
        "checkerboard",
        "leaks",
        "pytest",
    ):
        assert any(name.startswith(word) for name in names)
    assert any("compute-sanitizer" in name for name in names)


def test_the_most_telling_and_the_quickest_come_first():
    names = [check.name for check in module.CHECKS]
    assert names[:2] == ["pytest -m gpu", "checkerboard: the Triton kernel"]
    firsts = [
        next(number for number, name in enumerate(names) if name.startswith(start))
        for start in ("prepare", "parity: torch", "compute-sanitizer", "accepts: tensorrt", "parity: tensorrt", "leaks")
    ]
    assert firsts == sorted(firsts)
    assert all(name.startswith("leaks") for name in names[firsts[-1] :])


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["parity: torch"], [PREPARE, "parity: torch fp32", "parity: torch fp16", "parity: torch bf16"]),
        (["torch fp16", "leaks: cuda"], [PREPARE, "parity: torch fp16", "leaks: cuda"]),
        (["leaks: torch"], ["leaks: torch"]),
    ],
)
def test_some_of_them_can_be_asked_for_and_parity_brings_its_bundle(only, expected):
    arguments = [word for text in only for word in ("--only", text)]
    assert CliRunner().invoke(main, ["--list", *arguments]).output.splitlines() == expected
