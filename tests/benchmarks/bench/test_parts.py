"""Rows of engines on a GPU, run on the CPU in its place: the bytes, and the parts that are timed apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_rows import row
from stand_in_gpu import ON_GPU, SHORT

from starcast.benchmarks.bench.parts import EngineRun
from starcast.benchmarks.bench.worker import open_row
from starcast.runtime.engines.base import GpuTime

DRAWS = np.random.default_rng(1)
IMAGES = DRAWS.integers(0, 256, (3, 32, 64, 3), np.uint8)
STYLE = DRAWS.standard_normal((1, 8)).astype(np.float32)


def test_a_bundle_runs_in_a_precision_that_its_engine_makes(tiny_bundle, tiny_model):
    ours = row(
        "ours-torch-plain-fp16", engine="torch", precision="fp16", source=tiny_bundle, size=(32, 32),
        variant="generator/plain-fp32.onnx", **ON_GPU,
    )  # fmt: skip
    style = np.round(STYLE)  # exact in the tiny bundle's arithmetic
    run = open_row(ours, style)
    np.testing.assert_array_equal(run(IMAGES[:, :, :32]), tiny_model.translation(IMAGES[:, :, :32], style))


def test_an_engines_copies_are_timed_by_themselves_and_nothing_is_made_up_for_its_compute():
    asked = []
    run = EngineRun(lambda images: asked.append(1) or 255 - images, SHORT, on_gpu=False)
    np.testing.assert_array_equal(run(IMAGES), 255 - IMAGES)
    parts = run.split(IMAGES)
    assert min(parts.copy_in, parts.copy_out) > 0
    assert parts.compute is parts.enqueue is None
    assert asked == [1]


def test_what_an_engine_tells_of_its_compute_is_taken_and_else_a_call_is_timed(monkeypatch):
    asked = []
    for told in (GpuTime(compute=3.25, enqueue=0.5), None):
        run = EngineRun(
            lambda images: asked.append("run") or images, SHORT, on_gpu=True,
            gpu_time=lambda images, told=told: asked.append("time") or told,
        )  # fmt: skip
        run._on_gpu = True  # the processor stands in for a card, which says nothing of speed
        parts = run.split(IMAGES)
        if told is None:
            assert parts.compute > 0
            assert parts.enqueue is None
        else:
            assert (parts.compute, parts.enqueue) == (3.25, 0.5)
    assert asked == ["time", "time", "run"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
def test_on_a_gpu_its_clock_times_an_engines_computation():
    engine = EngineRun(lambda images: 255 - images, replace(SHORT, device="cuda"), on_gpu=True)
    assert engine.split(IMAGES).compute > 0
