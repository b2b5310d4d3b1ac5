"""The runner of the checks: each in its own process, none stops the others, and what becomes of them is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from starcast.benchmarks import gpu_check
from starcast.benchmarks.card_checks import CHECKS, Check, NotRunError, WrongError
from starcast.benchmarks.gpu_check import Answer, answered, asked, main, run_all
from starcast.errors import EngineError
from starcast.runtime.cuda.gpu import Gpu

ADA = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")


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
    assert answered(Check("any", answer), tmp_path) == expected


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ('print(\'noise\'); print(\'{"status": "passed", "reason": null, "figures": {"a": 1}}\')', "passed", None),
        ("import os; os.abort()", "failed", "the process ended by SIGABRT: it said nothing"),
        (
            'import os; print(\'{"status": "passed"}\', flush=True); os.abort()',
            "failed",
            "the process ended by SIGABRT: it said nothing",
        ),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "failed", "the process ended with status 3: why"),
        ("print('[]')", "failed", "the process ended with status 0: it said nothing"),
    ],
    ids=["an answer", "a crash", "a crash at its end", "an error", "something else"],
)
def test_a_process_that_ends_in_any_way_is_an_answer(tmp_path, code, status, reason):
    answer = asked(Check("any", lambda folder: {}), tmp_path, printing(code))
    assert (answer.status, answer.reason) == (status, reason)


def test_what_a_library_says_behind_the_answer_is_passed_over(tmp_path):
    code = "print('hello'); print('{\"status\": \"passed\"}'); print('freed'); print()"
    assert asked(Check("any", lambda folder: {}), tmp_path, printing(code)) == Answer("passed")


def test_a_process_that_hangs_is_ended(tmp_path):
    check = Check("any", lambda folder: {}, timeout_s=0.5)
    answer = asked(check, tmp_path, printing("import time; time.sleep(60)"))
    assert answer == Answer("failed", "it had not ended after 0.5 s")


def test_a_process_is_told_the_check_and_the_folder(tmp_path):
    code = "import json, sys; print(json.dumps({'status': 'passed', 'figures': {'told': sys.argv[1:]}}))"
    answer = asked(Check("leaks: x", lambda folder: {}), tmp_path, printing(code))
    assert answer.figures == {"told": ["--run", "leaks: x", "--folder", str(tmp_path)]}


def test_no_check_stops_the_others(tmp_path):
    checks = [Check(name, lambda folder: {}) for name in "abc"]
    lines: list[str] = []

    def ask(check: Check, _: Path) -> Answer:
        return Answer("failed", "why") if check.name == "a" else Answer("passed")

    answers = run_all(checks, tmp_path, lines.append, ask)
    assert [answer.status for answer in answers.values()] == ["failed", "passed", "passed"]
    assert lines == ["failed   a: why", "passed   b", "passed   c"]


@pytest.fixture
def on_a_card(monkeypatch):
    monkeypatch.setattr(gpu_check, "current_gpu", lambda: ADA)

    def use(**answers: Answer) -> None:
        monkeypatch.setattr(gpu_check, "ALL", tuple(Check(name, lambda folder: {}) for name in answers))
        monkeypatch.setattr(
            gpu_check, "run_all", lambda checks, folder, say: {check.name: answers[check.name] for check in checks}
        )

    return use


def test_the_report_holds_the_card_and_every_answer(on_a_card, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "card_facts", lambda: None)
    on_a_card(first=Answer("passed", figures={"error": 0.5}), second=Answer("not run", "refused: sm90"))
    result = CliRunner().invoke(main, ["--json", str(tmp_path / "report.json")])
    assert (result.exit_code, result.output) == (0, "2 checks, 0 failed\n")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["card"] == {"name": "NVIDIA RTX 4090", "architecture": "sm89", "cuda": "13.0", "facts": None}
    assert report["command"].startswith("python -m starcast.benchmarks.gpu_check")
    assert report["checks"] == [
        {"name": "first", "status": "passed", "reason": None, "figures": {"error": 0.5}},
        {"name": "second", "status": "not run", "reason": "refused: sm90", "figures": {}},
    ]
    assert {"versions", "commit", "date"} <= report.keys()


def test_a_name_that_no_check_has_is_wrong_use():
    result = CliRunner().invoke(main, ["--only", "no such check"])
    assert result.exit_code == 2
    assert "no check has 'no such check' in its name" in result.output


def test_one_that_failed_makes_the_exit_status_1(on_a_card):
    on_a_card(first=Answer("failed", "why"), second=Answer("passed"))
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.output) == (1, "2 checks, 1 failed\n")


def test_without_a_card_it_is_one_sentence_and_2(monkeypatch):
    monkeypatch.setattr(gpu_check, "current_gpu", lambda: None)
    monkeypatch.setattr(gpu_check, "why_no_gpu", lambda: "no NVIDIA driver is installed")
    result = CliRunner().invoke(main, ["--json", "nowhere.json"])
    assert result.exit_code == 2
    assert result.output == (
        "Error: there is no NVIDIA card to check (no NVIDIA driver is installed): run it on a machine with one\n"
    )


def test_checks_are_named_once_and_cover_what_was_promised():
    names = [check.name for check in gpu_check.ALL]
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
    assert names[1:] == [check.name for check in CHECKS]


def test_some_of_them_can_be_asked_for():
    listed = CliRunner().invoke(main, ["--list", "--only", "parity: torch"]).output.splitlines()
    assert listed == ["prepare: a bundle", "parity: torch fp32", "parity: torch fp16", "parity: torch bf16"]
