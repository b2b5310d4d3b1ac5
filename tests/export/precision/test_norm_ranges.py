"""What a norm may do follows from how far off nought its planes lie on calibration images."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from starcast.export.gate.candidates import OnnxCandidate, difference, translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.gate.reference import as_floats
from starcast.export.passes.centred_biases import Centring
from starcast.export.passes.forms import apply_form
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.precision import norm_ranges
from starcast.export.precision.norm_ranges import LARGEST_RATIO, Planes, calibrate_norms, observe_norms


@pytest.fixture(scope="module")
def trials(small):
    return make_trials(small.model)


@pytest.fixture(scope="module")
def calibrated(small, trials):
    model = ir.load(small.generator)
    apply_form(model, "taps16")
    before = observe_norms(model, trials)
    norms, centring = calibrate_norms(model, trials)
    return model, before, norms, centring


def test_planes_are_measured_as_numpy_does(small, trials):
    model = ir.load(small.generator)
    [first, *_] = instance_norms(model.graph)
    planes = observe_norms(model, trials)[first.name]
    assert planes.means.shape == (sum(trial.batch for trial in trials), small.config.first_channels)
    inside = small.networks.generator.from_rgb
    with torch.inference_mode():
        maps = [inside(as_floats(trial.sources)).numpy().astype(np.float64) for trial in trials]
    np.testing.assert_allclose(planes.means, np.concatenate([m.mean(axis=(2, 3)) for m in maps]), rtol=1e-4, atol=1e-5)
    stds = np.concatenate([np.sqrt(m.var(axis=(2, 3)) + 1e-5) for m in maps])
    np.testing.assert_allclose(planes.stds, stds, rtol=1e-4)


def test_every_norm_of_the_generator_is_centred_and_the_images_stay(small, trials, calibrated):
    model, before, norms, centring = calibrated
    assert (centring.fired, centring.declined) == (len(before), ())
    assert all(norm.centred for norm in norms)
    after = observe_norms(model, trials)
    for norm in norms:
        assert np.abs(after[norm.name].channel_means).max() < 1e-5 * max(1, np.abs(before[norm.name].means).max())
        assert norm.ratio == pytest.approx(after[norm.name].ratio(), rel=1e-3)  # one run tells what a second measures
    candidate = OnnxCandidate(model)
    for trial in trials:
        got = (candidate.translate_unrounded(trial).astype(np.float64) - 127.5) / 127.5
        assert difference(got, translate_with_torch(small.networks.generator, trial)) < 1e-4


def test_the_ratio_is_of_the_worst_plane_with_what_is_added():
    planes = Planes(np.array([[3.0, -8.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [0.5, 4.0]]))
    assert planes.ratio() == 4
    assert planes.ratio(np.array([0.0, 8.0])) == 3
    np.testing.assert_array_equal(planes.channel_means, [2.0, -3.0])


def test_a_norm_takes_one_pass_below_a_ratio_of_100_and_two_from_there_on(small, trials, monkeypatch):
    ratios = {"near": 0.999 * LARGEST_RATIO, "far": LARGEST_RATIO}
    planes = {name: Planes(np.full((1, 2), ratio), np.ones((1, 2))) for name, ratio in ratios.items()}
    not_centred = Centring(0, ("near: why", "far: why"), dict.fromkeys(ratios, np.zeros(2)), frozenset(ratios))
    monkeypatch.setattr(norm_ranges, "observe_norms", lambda *_: planes)
    monkeypatch.setattr(norm_ranges, "centre_biases", lambda *_: not_centred)
    norms, _ = calibrate_norms(ir.load(small.generator), trials)
    assert [(norm.statistics, norm.centred) for norm in norms] == [("one-pass", False), ("two-pass", False)]
