"""Rows of a card, run on the processor in its place: the pictures, the parts, and what a worker answers."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_rows import row
from stand_in_card import SHORT

from starcast.benchmarks.bench import gpu_worker as card_worker
from starcast.benchmarks.bench.gpu_run import EngineRun, Split, TorchRun, open_on_card
from starcast.benchmarks.bench.gpu_worker import median_split, timed, timed_batch
from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.measure import joined
from starcast.benchmarks.bench.open_row import open_row
from starcast.benchmarks.bench.worker import work
from starcast.export.gate.reference import translate
from starcast.runtime.engines.base import CardTime
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config
from starcast.train.families.stargan_v2.random_weights import random_networks

SMALL = StarGANv2Config(
    image_size=32, domains=2, style_dim=8, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
)
DRAWS = np.random.default_rng(1)
IMAGES = DRAWS.integers(0, 256, (3, 32, 64, 3), np.uint8)
STYLE = DRAWS.standard_normal((1, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def _settings_are_put_back():
    backends = torch.backends.cudnn
    before = backends.allow_tf32, backends.benchmark
    yield
    backends.allow_tf32, backends.benchmark = before


@pytest.fixture(scope="module")
def networks():
    return random_networks(SMALL)


@pytest.fixture(scope="module")
def checkpoint(networks, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "weights.pt"
    write_checkpoint(path, config=SMALL, domain_names=("ink", "chalk"), step=0, averaged=networks)
    return path


def torch_row(checkpoint, precision="fp32", form="eager"):
    return row(source=checkpoint, precision=precision, form=form, size=(32, 64), method=SHORT)


@pytest.fixture(scope="module")
def expected(networks):
    return translate(networks.generator, IMAGES, STYLE)


@pytest.mark.parametrize(
    ("precision", "form", "most"),
    [("fp32", "eager", 1), ("tf32", "eager", 1), ("fp16", "channels-last", 12), ("bf16", "channels-last", 80)],
)
def test_pytorchs_rows_give_the_networks_bytes(checkpoint, expected, precision, form, most):
    run = open_on_card(torch_row(checkpoint, precision, form), STYLE)
    got = run(IMAGES)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= most


def test_a_graphed_row_records_a_call_once_for_each_shape_and_gives_new_pictures_bytes(checkpoint):
    graphed, eager = (open_on_card(torch_row(checkpoint, form=form), STYLE) for form in ("graphed", "eager"))
    recorded = []
    record = graphed._clock.recorded
    graphed._clock.recorded = lambda run: recorded.append(run) or record(run)
    for images in (IMAGES, 255 - IMAGES, IMAGES[:1], IMAGES):
        assert np.abs(graphed(images).astype(int) - eager(images)).max() <= 1
    assert len(recorded) == 2


def test_only_the_rows_that_name_it_take_tf32(checkpoint):
    for precision, taken in (("tf32", True), ("fp32", False), ("fp16", False)):
        open_on_card(torch_row(checkpoint, precision), STYLE)
        assert torch.backends.cudnn.allow_tf32 is taken
        assert torch.backends.cudnn.benchmark


def test_what_was_given_out_stays_when_the_row_runs_again(checkpoint):
    run = open_on_card(torch_row(checkpoint), STYLE)
    first = run(IMAGES)
    kept = first.copy()
    run(255 - IMAGES)
    np.testing.assert_array_equal(first, kept)


def test_the_parts_of_pytorchs_run_are_between_four_marks_in_their_order(checkpoint, monkeypatch):
    run = TorchRun(torch_row(checkpoint), SHORT, STYLE)
    marks = iter([10.0, 11.0, 15.0, 17.5])
    monkeypatch.setattr(run._clock, "mark", lambda: next(marks))
    monkeypatch.setattr(run._clock, "between_ms", lambda first, second: second - first)
    parts = run.split(IMAGES)
    assert (parts.copy_in, parts.compute, parts.copy_out) == (1.0, 4.0, 2.5)
    assert parts.enqueue > 0


def test_a_bundle_runs_in_a_precision_that_its_engine_makes(tiny_bundle, tiny_model):
    ours = row(
        "ours-torch-plain-fp16", engine="torch", precision="fp16", source=tiny_bundle, size=(32, 32),
        variant="generator/plain-fp32.onnx", method=SHORT,
    )  # fmt: skip
    style = np.round(STYLE)  # exact in the tiny bundle's arithmetic
    run = open_on_card(ours, style)
    np.testing.assert_array_equal(run(IMAGES[:, :, :32]), tiny_model.translation(IMAGES[:, :, :32], style))


def test_an_engines_copies_are_timed_by_themselves_and_nothing_is_made_up_for_its_compute():
    asked = []
    run = EngineRun(lambda images: asked.append(1) or 255 - images, SHORT, on_card=False)
    np.testing.assert_array_equal(run(IMAGES), 255 - IMAGES)
    parts = run.split(IMAGES)
    assert min(parts.copy_in, parts.copy_out) > 0
    assert parts.compute is parts.enqueue is None
    assert asked == [1]


def test_what_an_engine_tells_of_its_compute_is_taken_and_else_a_call_is_timed(monkeypatch):
    asked = []
    for told in (CardTime(compute=3.25, enqueue=0.5), None):
        run = EngineRun(
            lambda images: asked.append("run") or images, SHORT, on_card=True,
            card_time=lambda images, told=told: asked.append("time") or told,
        )  # fmt: skip
        run._on_card = True  # the processor stands in for a card, which says nothing of speed
        parts = run.split(IMAGES)
        if told is None:
            assert parts.compute > 0
            assert parts.enqueue is None
        else:
            assert (parts.compute, parts.enqueue) == (3.25, 0.5)
    assert asked == ["time", "time", "run"]


class Counting:
    """A run of nothing."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        return 255 - images

    def split(self, images):
        return Split(copy_in=float(len(self.batches) % 2), compute=None, copy_out=2.0, enqueue=0.5)


def test_an_answer_has_the_median_all_samples_and_the_parts():
    answer = timed(Counting(), IMAGES, SHORT)
    assert json.loads(json.dumps(answer)) == answer
    assert len(answer["samples"]) >= SHORT.window_samples
    assert answer["seconds"] == pytest.approx(np.median(answer["samples"]))
    assert answer["steady"] is True
    assert set(answer["split"]) == {"copy_in", "compute", "copy_out", "enqueue"}


def test_the_card_is_asked_for_its_clocks_while_the_row_runs(monkeypatch):
    run, begun = Counting(), []

    def slow():
        begun.append(len(run.batches))
        while len(run.batches) < begun[0] + 3:
            pass
        return {"clocks_sm": 1980.0}

    monkeypatch.setattr(card_worker, "card_facts", slow)
    assert timed(run, IMAGES, SHORT)["card"] == {"clocks_sm": 1980.0}


def test_past_the_compilers_limit_a_row_fails_and_does_not_go_on_uncompiled(checkpoint, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(options) or function)
    for name in ("recompile_limit", "fail_on_recompile_limit_hit"):
        monkeypatch.setattr(torch._dynamo.config, name, getattr(torch._dynamo.config, name))
    run = open_on_card(torch_row(checkpoint, form="compiled"), STYLE)
    assert run(IMAGES).shape == IMAGES.shape
    assert compiled == [{"mode": "max-autotune", "dynamic": False}]
    assert torch._dynamo.config.recompile_limit >= 64
    assert torch._dynamo.config.fail_on_recompile_limit_hit


def test_a_larger_batch_takes_the_pictures_again_and_a_smaller_one_the_first(tmp_path):
    for size, pictures in ((2, IMAGES[:2]), (8, IMAGES)):
        run = Counting()
        timed_batch(run, IMAGES, size, tmp_path / "pictures.npy", SHORT)
        assert set(run.batches) == {size}
        np.testing.assert_array_equal(np.load(tmp_path / "pictures.npy"), 255 - pictures)


def test_a_batch_is_not_timed_until_a_99th_percentile_is_known(tmp_path):
    many = replace(SHORT, window_samples=1000, window_s=0.0)
    assert len(timed_batch(Counting(), IMAGES, 1, tmp_path / "pictures.npy", many)["samples"]) == 100


def test_parts_are_medians_and_one_that_is_not_known_stays_so():
    splits = [Split(copy_in, None, 2.0, 0.5) for copy_in in (1.0, 9.0, 2.0)]
    assert median_split(splits) == {"copy_in": 2.0, "compute": None, "copy_out": 2.0, "enqueue": 0.5}
    rounds = [{"copy_in": value, "compute": None} for value in (3.0, 1.0, 2.0)]
    assert joined(rounds) == {"copy_in": 2.0, "compute": None}


def test_a_worker_answers_for_a_card_as_for_the_processor(checkpoint, tmp_path, monkeypatch):
    looked, first = tmp_path / "looked.npy", tmp_path / "first.npy"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"look {looked}\ntime\nbatch 2 {first}\nmemory\n"))
    answers = io.StringIO()
    work(torch_row(checkpoint), Inputs(IMAGES, STYLE), answers)
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert told[0] == {}
    assert {"seconds", "cpu_seconds", "samples", "split", "steady", "card"} == set(told[1]) == set(told[2])
    assert set(told[3]) == {"peak_rss"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    on_processor = open_row(replace(torch_row(checkpoint), method=None, form="eager"), STYLE)
    assert np.abs(np.load(looked).astype(int) - on_processor(IMAGES)).max() <= 1
    assert np.load(first).shape[0] == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
@pytest.mark.parametrize(("precision", "form", "most"), [("fp32", "eager", 1), ("fp16", "channels-last", 12)])
def test_on_a_card_pytorchs_rows_give_the_networks_bytes_and_its_clock_times_them(
    checkpoint, expected, precision, form, most
):
    method = replace(SHORT, device="cuda")
    run = open_on_card(replace(torch_row(checkpoint, precision, form), method=method), STYLE)
    assert np.abs(run(IMAGES).astype(int) - expected).max() <= most
    parts = run.split(IMAGES)
    assert min(parts.copy_in, parts.compute, parts.copy_out, parts.enqueue) > 0
    engine = EngineRun(lambda images: 255 - images, method, on_card=True)
    assert engine.split(IMAGES).compute > 0
