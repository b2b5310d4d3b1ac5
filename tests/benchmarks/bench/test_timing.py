"""A row's turn: how many runs it has, and what the answer holds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from stand_in_gpu import SHORT

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.method import ONE_RUN
from starcast.benchmarks.bench.timing import Split, Turn, median_parts, take_batch_turn, take_turn

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 32, 64, 3), np.uint8)
INPUTS = Inputs(IMAGES, np.zeros((1, 8), np.float32))


class Counting:
    """A run of nothing."""

    def __init__(self):
        self.batches = []

    def __call__(self, inputs):
        self.batches.append(len(inputs))
        return 255 - inputs.images

    def split(self, inputs):
        return Split(copy_in=float(len(self.batches) % 2), compute=None, copy_out=2.0, enqueue=0.5)


def test_an_answer_has_the_median_all_samples_and_the_parts():
    answer = take_turn(Counting(), INPUTS, SHORT)
    assert Turn(**json.loads(json.dumps(asdict(answer)))) == answer
    assert len(answer.samples) >= SHORT.window_samples
    assert answer.seconds == pytest.approx(np.median(answer.samples))
    assert answer.steady is True
    assert set(answer.split) == {"copy_in", "compute", "copy_out", "enqueue"}


def test_the_gpu_is_asked_for_its_clocks_while_the_row_runs():
    run, begun = Counting(), []

    def slow():
        begun.append(len(run.batches))
        while len(run.batches) < begun[0] + 3:
            pass
        return {"clocks_sm": 1980.0}

    assert take_turn(run, INPUTS, SHORT, slow).state == {"clocks_sm": 1980.0}


def test_a_turn_of_one_run_has_no_parts_and_no_state():
    run = Counting()
    answer = take_turn(run, INPUTS, ONE_RUN)
    assert run.batches == [3, 3]
    assert answer.samples == [answer.seconds]
    assert (answer.split, answer.state) == (None, None)
    assert answer.cpu_seconds >= 0


def test_a_larger_batch_takes_the_pictures_again_and_a_smaller_one_the_first(tmp_path):
    for size, pictures in ((2, IMAGES[:2]), (8, IMAGES)):
        run = Counting()
        take_batch_turn(run, INPUTS, size, tmp_path / "pictures.npy", SHORT)
        assert set(run.batches) == {size}
        np.testing.assert_array_equal(np.load(tmp_path / "pictures.npy"), 255 - pictures)


def test_a_batch_is_not_timed_until_a_99th_percentile_is_known(tmp_path):
    many = replace(SHORT, window_samples=1000, window_s=0.0)
    assert len(take_batch_turn(Counting(), INPUTS, 1, tmp_path / "pictures.npy", many).samples) == 100


def test_parts_are_medians_and_one_that_is_not_known_stays_so():
    splits = [asdict(Split(copy_in, None, 2.0, 0.5)) for copy_in in (1.0, 9.0, 2.0)]
    assert median_parts(splits) == {"copy_in": 2.0, "compute": None, "copy_out": 2.0, "enqueue": 0.5}
    rounds = [{"copy_in": value, "compute": None} for value in (3.0, 1.0, 2.0)]
    assert median_parts(rounds) == {"copy_in": 2.0, "compute": None}
