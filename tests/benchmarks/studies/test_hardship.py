"""What the study of hardships looks for: files that are not whole, files left over, wrong statuses, tracebacks."""

from __future__ import annotations

import signal

import pytest
from PIL import Image

from starcast.benchmarks.studies import hardship

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="forks, which Windows does not have")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def trial(monkeypatch, tmp_path, out, *runs, allowed=(0,)):
    """A trial whose first and second start answer as given: (status, seconds, text)."""
    answers = iter(runs)
    monkeypatch.setattr(hardship, "run", lambda *_, **__: next(answers))
    return hardship.try_once(hardship.Material(tmp_path), "translate", out, "a test", set(allowed))


def test_a_run_that_ends_well_has_no_fault(monkeypatch, tmp_path, out):
    Image.new("RGB", (8, 8)).save(out / "a.png")
    (out / "starcast.json").write_text("{}")
    assert trial(monkeypatch, tmp_path, out, (0, 1.0, "done"), (0, 1.0, "done")).faults == []


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ((None, 60.0, ""), (0, 1.0, ""), "hung for 60 s"),
        ((-11, 1.0, ""), (0, 1.0, ""), "exit status -11"),
        ((0, 1.0, "Traceback (most recent call last)"), (0, 1.0, ""), "a traceback"),
        ((0, 1.0, ""), (1, 1.0, "Error: no"), "second start: exit status 1: Error: no"),
    ],
)
def test_an_outcome_that_no_user_should_see_is_a_fault(monkeypatch, tmp_path, out, first, second, fault):
    assert trial(monkeypatch, tmp_path, out, first, second).faults == [fault]


def test_a_failure_without_a_reason_is_a_fault(monkeypatch, tmp_path, out):
    found = trial(monkeypatch, tmp_path, out, (1, 1.0, "hm"), (0, 1.0, ""), allowed=(0, 1))
    assert found.faults == ["no reason is given"]


@pytest.mark.parametrize("name", ["a.png", "starcast.json", "losses.jsonl", "step-000001.pt", "film.mp4"])
def test_half_a_file_is_a_fault(monkeypatch, tmp_path, out, name):
    (out / name).write_bytes(b'{"half')
    first, second = trial(monkeypatch, tmp_path, out, (0, 1.0, ""), (0, 1.0, "")).faults
    assert first.startswith(f"{name} is not whole")
    assert second.startswith(f"second start: {name} is not whole")


def test_a_hidden_file_may_stay_after_a_kill_and_not_after_the_next_start(monkeypatch, tmp_path, out):
    (out / ".starcast-partial-x-a.png").write_bytes(b"half")
    found = trial(monkeypatch, tmp_path, out, (-signal.SIGKILL, 1.0, ""), (0, 1.0, ""), allowed=(-signal.SIGKILL,))
    assert found.faults == ["second start: left over: .starcast-partial-x-a.png"]


def test_a_command_runs_in_a_fork_with_its_output_in_a_log(tmp_path):
    status, _, text = hardship.run(["translate", str(tmp_path / "none"), "a.png", "-o", "b"], tmp_path / "log.txt")
    assert status == 2
    assert "none" in text
    assert "Traceback" not in text
