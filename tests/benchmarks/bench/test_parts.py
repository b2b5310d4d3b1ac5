"""Rows of engines on a GPU, run on the CPU in its place: the bytes, and the parts that are timed apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_rows import row
from stand_in_gpu import ON_GPU, SHORT
from tiny_generator import FRAME_GRAPH, LAYERS, TinyGenerator
from tiny_generator import STYLE as GENERATED_STYLE

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.parts import EngineRun
from starcast.benchmarks.bench.worker import open_row
from starcast.runtime.engines.base import GpuTime

DRAWS = np.random.default_rng(1)
IMAGES = DRAWS.integers(0, 256, (3, 32, 64, 3), np.uint8)
STYLE = DRAWS.standard_normal((1, 8)).astype(np.float32)
INPUTS = Inputs(IMAGES, STYLE)


def test_a_bundle_runs_in_a_precision_that_its_engine_makes(tiny_bundle, tiny_model):
    ours = row(
        "ours-torch-plain-fp16", engine="torch", precision="fp16", source=tiny_bundle, size=(32, 32),
        variant="generator/plain-fp32.onnx", **ON_GPU,
    )  # fmt: skip
    style = np.round(STYLE)  # exact in the tiny bundle's arithmetic
    run = open_row(ours)
    np.testing.assert_array_equal(
        run(Inputs(IMAGES[:, :, :32], style)), tiny_model.translation(IMAGES[:, :, :32], style)
    )


def test_without_a_source_styles_and_noise_are_what_is_run_copied_and_computed_on(generator_bundle):
    ours = row(
        "ours-torch-plain-fp32", engine="torch", source=generator_bundle, size=(16, 16), variant=FRAME_GRAPH, **ON_GPU,
    )  # fmt: skip
    model = TinyGenerator()
    styles = np.round(2 * DRAWS.standard_normal((3, LAYERS, GENERATED_STYLE)).astype(np.float32)) / 2
    inputs = Inputs(None, styles, {f"noise_{number}": one for number, one in enumerate(model.constants)})
    run = open_row(ours)
    np.testing.assert_array_equal(run(inputs), model.images(styles, model.constants))
    np.testing.assert_array_equal(run._compute(inputs), model.images(styles, model.constants))
    parts = run.split(inputs)
    assert min(parts.copy_in, parts.copy_out) > 0


def test_an_engines_copies_are_timed_by_themselves_and_nothing_is_made_up_for_its_compute():
    asked = []
    run = EngineRun(lambda inputs: asked.append(1) or 255 - inputs.images, SHORT, on_gpu=False)
    np.testing.assert_array_equal(run(INPUTS), 255 - IMAGES)
    parts = run.split(INPUTS)
    assert min(parts.copy_in, parts.copy_out) > 0
    assert parts.compute is parts.enqueue is None
    assert asked == [1]


def test_what_an_engine_tells_of_its_compute_is_taken_and_else_a_call_is_timed(monkeypatch):
    asked = []
    for told in (GpuTime(compute=3.25, enqueue=0.5), None):
        run = EngineRun(
            lambda inputs: asked.append("run") or inputs.images, SHORT, on_gpu=True,
            gpu_time=lambda inputs, told=told: asked.append("time") or told,
        )  # fmt: skip
        run._on_gpu = True  # the processor stands in for a card, which says nothing of speed
        run(INPUTS)
        parts = run.split(INPUTS)
        if told is None:
            assert parts.compute > 0
            assert parts.enqueue is None
        else:
            assert (parts.compute, parts.enqueue) == (3.25, 0.5)
    assert asked == ["run", "time", "run", "time", "run"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
def test_on_a_gpu_its_clock_times_an_engines_computation():
    engine = EngineRun(lambda inputs: 255 - inputs.images, replace(SHORT, device="cuda"), on_gpu=True)
    assert engine.split(INPUTS).compute > 0
