"""PyTorch's rows of both devices, run on the CPU: the bytes, the parts, and what is compiled or recorded."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_rows import row
from stand_in_gpu import ON_GPU, SHORT

from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.method import ONE_RUN
from starcast.benchmarks.bench.pytorch import GpuRun
from starcast.benchmarks.bench.worker import open_row, serve
from starcast.export.gate.reference import to_bytes, translate
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config, random_networks
from starcast.train.families.stylegan2.networks import StyleGAN2Config
from starcast.train.families.stylegan2.networks import random_networks as random_networks_of_stylegan2

SMALL = StarGANv2Config(
    image_size=32, domains=2, style_dim=8, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
)
SOURCELESS = StyleGAN2Config(image_size=16, latent_dim=8, mapping_depth=1, widths=(8, 8, 8))
DRAWS = np.random.default_rng(1)
IMAGES = DRAWS.integers(0, 256, (3, 32, 64, 3), np.uint8)
STYLE = DRAWS.standard_normal((1, 8)).astype(np.float32)
INPUTS = Inputs(IMAGES, STYLE)


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


def torch_row(checkpoint, precision="fp32", form="eager", **setting):
    return row(source=checkpoint, precision=precision, form=form, size=(32, 64), **(ON_GPU | setting))


@pytest.fixture(scope="module")
def expected(networks):
    return translate(networks.generator, IMAGES, STYLE)


@pytest.mark.parametrize(
    ("precision", "form", "most"),
    [("fp32", "eager", 1), ("tf32", "eager", 1), ("fp16", "channels-last", 12), ("bf16", "channels-last", 80)],
)
def test_pytorchs_rows_give_the_networks_bytes(checkpoint, expected, precision, form, most):
    run = open_row(torch_row(checkpoint, precision, form))
    got = run(INPUTS)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= most


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """A checkpoint of a generator without a source, and inputs with the bytes that its network makes of them."""
    networks = random_networks_of_stylegan2(SOURCELESS)
    path = tmp_path_factory.mktemp("sourceless") / "weights.pt"
    write_checkpoint(path, config=SOURCELESS, domain_names=("images",), step=0, averaged=networks)
    draws = torch.Generator().manual_seed(1)
    styles = torch.randn(3, SOURCELESS.layers, 8, generator=draws)
    noise = [torch.randn(3, 1, side, side, generator=draws) for side in SOURCELESS.noise_sides]
    with torch.inference_mode():
        made = to_bytes(networks.generator(styles, noise)).numpy()
    named = {f"noise_{number}": one.numpy() for number, one in enumerate(noise)}
    return path, Inputs(None, styles.numpy(), named), made


@pytest.mark.parametrize(
    ("setting", "precision", "form", "most"),
    [
        ({"device": "cpu", "method": ONE_RUN}, "fp32", "eager", 0),
        ({"device": "cpu", "method": ONE_RUN}, "fp32", "channels-last", 1),
        ({"device": "cpu", "method": ONE_RUN}, "bf16", "channels-last", 60),
        ({}, "fp32", "eager", 0),
        ({}, "fp32", "graphed", 1),
        ({}, "bf16", "channels-last", 60),
    ],
)
def test_without_a_source_pytorchs_rows_make_the_networks_images_of_styles_and_noise(
    generator, setting, precision, form, most
):
    checkpoint, inputs, expected = generator
    run = open_row(torch_row(checkpoint, precision, form, **setting))
    for places in (slice(None), slice(1, 2), slice(None)):
        got = run(inputs.take(places))
        assert got.shape == (*expected[places].shape[:3], 3)
        assert np.abs(got.astype(int) - expected[places]).max() <= most


def test_without_a_source_styles_and_noise_are_what_is_copied(generator):
    checkpoint, inputs, _ = generator
    parts = open_row(torch_row(checkpoint)).split(inputs)
    assert min(parts.copy_in, parts.compute, parts.copy_out) > 0


def test_a_graphed_row_records_a_call_once_for_each_shape_and_gives_new_pictures_bytes(checkpoint):
    graphed, eager = (open_row(torch_row(checkpoint, form=form)) for form in ("graphed", "eager"))
    recorded = []
    record = graphed._clock.record
    graphed._clock.record = lambda run: recorded.append(run) or record(run)
    for images in (IMAGES, 255 - IMAGES, IMAGES[:1], 255 - IMAGES[:1], IMAGES):
        inputs = Inputs(images, STYLE)
        assert np.abs(graphed(inputs).astype(int) - eager(inputs)).max() <= 1
    assert len(recorded) == 2


def test_only_the_rows_that_name_it_take_tf32(checkpoint):
    for precision, taken in (("tf32", True), ("fp32", False), ("fp16", False)):
        open_row(torch_row(checkpoint, precision))
        assert torch.backends.cudnn.allow_tf32 is taken
        assert torch.backends.cudnn.benchmark


def test_what_was_given_out_stays_when_the_row_runs_again(checkpoint):
    run = open_row(torch_row(checkpoint))
    first = run(INPUTS)
    kept = first.copy()
    run(Inputs(255 - IMAGES, STYLE))
    np.testing.assert_array_equal(first, kept)


def test_the_parts_of_pytorchs_run_are_between_four_marks_in_their_order(checkpoint, monkeypatch):
    run = GpuRun(torch_row(checkpoint))
    marks = iter([10.0, 11.0, 15.0, 17.5])
    monkeypatch.setattr(run._clock, "mark", lambda: next(marks))
    monkeypatch.setattr(run._clock, "between_ms", lambda first, second: second - first)
    parts = run.split(INPUTS)
    assert (parts.copy_in, parts.compute, parts.copy_out) == (1.0, 4.0, 2.5)
    assert parts.enqueue > 0


def test_past_the_compilers_limit_a_row_fails_and_does_not_go_on_uncompiled(checkpoint, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(options) or function)
    for name in ("recompile_limit", "fail_on_recompile_limit_hit"):
        monkeypatch.setattr(torch._dynamo.config, name, getattr(torch._dynamo.config, name))
    run = open_row(torch_row(checkpoint, form="compiled"))
    assert run(INPUTS).shape == IMAGES.shape
    assert compiled == [{"mode": "max-autotune", "dynamic": False}]
    assert torch._dynamo.config.recompile_limit >= 64
    assert torch._dynamo.config.fail_on_recompile_limit_hit


@pytest.mark.parametrize(("precision", "form", "most"), [("fp32", "channels-last", 1), ("bf16", "channels-last", 80)])
def test_on_the_cpu_pytorchs_rows_give_the_networks_bytes(checkpoint, expected, precision, form, most):
    on_cpu = row(source=checkpoint, precision=precision, form=form, size=(32, 64))
    got = open_row(on_cpu)(INPUTS)
    assert np.abs(got.astype(int) - expected).max() <= most


def test_a_worker_answers_for_a_gpu_as_for_the_cpu(checkpoint, tmp_path, monkeypatch):
    looked, first = tmp_path / "looked.npy", tmp_path / "first.npy"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"look {looked}\ntime\nbatch 2 {first}\nmemory\n"))
    answers = io.StringIO()
    serve(torch_row(checkpoint), INPUTS, answers)
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert told[0] == {}
    assert {"seconds", "cpu_seconds", "samples", "split", "steady", "state"} == set(told[1]) == set(told[2])
    assert set(told[3]) == {"peak_rss"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    on_cpu = open_row(torch_row(checkpoint, method=ONE_RUN, device="cpu"))
    assert np.abs(np.load(looked).astype(int) - on_cpu(INPUTS)).max() <= 1
    assert np.load(first).shape[0] == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
@pytest.mark.parametrize(("precision", "form", "most"), [("fp32", "eager", 1), ("fp16", "channels-last", 12)])
def test_on_a_gpu_pytorchs_rows_give_the_networks_bytes_and_its_clock_times_them(
    checkpoint, expected, precision, form, most
):
    method = replace(SHORT, device="cuda")
    run = open_row(torch_row(checkpoint, precision, form, method=method))
    assert np.abs(run(INPUTS).astype(int) - expected).max() <= most
    parts = run.split(INPUTS)
    assert min(parts.copy_in, parts.compute, parts.copy_out, parts.enqueue) > 0
