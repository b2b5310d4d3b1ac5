"""Throughput is measured for each row alone, batch after batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measured_rows import row
from stand_in_gpu import ON_GPU, SHORT, measured_on_gpu

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.throughput import compiled_last, measure_throughput

DRAWS = np.random.default_rng(0)


@pytest.fixture
def tiny(tiny_bundle, tiny_model, tmp_path):
    """A row of the tiny bundle, its inputs' file, and its pictures."""
    images = DRAWS.integers(0, 256, (3, 32, 32, 3), np.uint8)
    style = DRAWS.integers(-2, 3, (1, 8)).astype(np.float32)
    path = tmp_path / "inputs.npz"
    Inputs(images, style).save(path)
    ours = row(
        "ours-torch-plain-fp32", engine="torch", source=tiny_bundle, size=(32, 32),
        variant="generator/plain-fp32.onnx", **ON_GPU,
    )  # fmt: skip
    return ours, path, tiny_model.translation(images, style)


def test_throughput_is_measured_in_a_process_of_its_own_batch_after_batch(tiny):
    ours, inputs, expected = tiny
    figures = list(measure_throughput(ours, inputs, (1, 5), expected))
    assert [figure.batch for figure in figures] == [1, 5]
    assert all(figure.reason is None and figure.images_per_second > 0 for figure in figures)


def test_a_row_that_does_not_answer_in_time_is_told_with_the_time(tiny):
    ours, inputs, expected = tiny
    hurried = replace(ours, method=replace(SHORT, answer_s=0.01))  # a process takes longer to start
    [figure] = measure_throughput(hurried, inputs, (1,), expected)
    assert figure.reason == "it did not answer within 0.01 s"


def test_rows_that_compile_for_every_batch_come_last():
    forms = ("eager", "compiled", "graphed")
    rows = [measured_on_gpu(f"eager-{form}", 1.0, 1.0, form=form) for form in forms]
    assert [row.form for row in compiled_last(rows)] == ["eager", "graphed", "compiled"]


def test_a_batch_whose_pictures_are_wrong_is_no_result(tiny):
    ours, inputs, expected = tiny
    [figure] = measure_throughput(ours, inputs, (2,), 255 - expected)
    assert figure.images_per_second is None
    assert "grey levels" in figure.reason


def test_a_batch_that_fails_ends_the_row_with_its_reason(tiny, tmp_path):
    ours, _, expected = tiny
    broken = tmp_path / "broken.npz"
    Inputs(np.zeros((3, 32, 32, 4), np.uint8), np.zeros((1, 8), np.float32)).save(broken)
    [figure] = measure_throughput(ours, broken, (1, 2), expected)
    assert (figure.batch, figure.images_per_second) == (1, None)
    assert "torch failed in" in figure.reason
