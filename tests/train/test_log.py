"""losses.jsonl: what a resumed run takes out, and what a reader leaves out."""

from __future__ import annotations

import json

import pytest

from starcast.train.log import open_log, read_logged_losses
from starcast.train.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def write(run, start, steps):
    with open_log(run, start, lambda sentence: pytest.fail(sentence)) as log:
        for step in steps:
            log.losses(step, {"G/ref_cyc": step / 3})


def test_lines_hold_step_and_losses_exactly(run):
    write(run, 0, [1, 2])
    assert read_logged_losses(run.losses) == [{"step": 1, "G/ref_cyc": 1 / 3}, {"step": 2, "G/ref_cyc": 2 / 3}]


def test_a_resumed_run_takes_out_what_lies_beyond_its_step(run):
    write(run, 0, [1, 2, 3, 4])
    before = run.losses.read_bytes().splitlines()
    write(run, 2, [3])
    assert run.losses.read_bytes().splitlines() == before[:3]


def test_a_new_run_starts_an_empty_file(run):
    write(run, 0, [1, 2])
    write(run, 0, [])
    assert read_logged_losses(run.losses) == []


def test_a_half_written_line_is_left_out(run):
    write(run, 0, [1, 2])
    with run.losses.open("a") as lines:
        lines.write('{"step": 3, "G/re')
    assert [line["step"] for line in read_logged_losses(run.losses)] == [1, 2]
    write(run, 2, [3])
    assert [json.loads(line)["step"] for line in run.losses.read_text().splitlines()] == [1, 2, 3]


def test_losses_go_to_tensorboard_too(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(run, 0, [1, 2])
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("G/ref_cyc")] == [
        (1, pytest.approx(1 / 3)),
        (2, pytest.approx(2 / 3)),
    ]


def test_a_missing_tensorboard_is_said_and_the_run_goes_on(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    said = []
    with open_log(run, 0, said.append) as log:
        log.losses(1, {"G/ref_cyc": 0.5})
    assert len(said) == 1
    assert "TensorBoard is not installed" in said[0]
    assert read_logged_losses(run.losses) == [{"step": 1, "G/ref_cyc": 0.5}]
