"""LPIPS, Inception's features and the Fréchet distance, tested against the original program's numbers in ../shared.

The networks' weights are made by formula, and lie in files of the official names.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from starcast.benchmarks.evaluation.judges import full_float32
from starcast.benchmarks.quality.distances import Frechet
from starcast.benchmarks.quality.inception import Inception, prepare_official
from starcast.benchmarks.quality.perceptual import Lpips
from starcast.benchmarks.quality.weights import alexnet_file, find_weights, inception_file

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
ORACLE = SHARED / "oracles" / "evaluation"
pytestmark = pytest.mark.skipif(not ORACLE.is_dir(), reason="the oracle is not part of the repository")

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"),
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")],
    ),
]


@pytest.fixture(scope="module")
def oracle():
    facts = json.loads((ORACLE / "evaluation.json").read_text())
    with np.load(ORACLE / "evaluation.npz") as arrays:
        return facts, dict(arrays)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A function (file) -> the oracle's weights of it, in a folder as --weights names one."""
    folder = tmp_path_factory.mktemp("weights")
    spec = importlib.util.spec_from_file_location("formula_weights", SHARED / "tools" / "formula_weights.py")
    formula = importlib.util.module_from_spec(spec)
    sys.modules["formula_weights"] = formula
    spec.loader.exec_module(formula)

    def make(file):
        if "inception" in file.name:
            network = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
        else:
            network = torchvision.models.AlexNet()
            for place in (1, 4, 6):  # LPIPS needs none of these, which are nearly all of the file
                network.classifier[place] = torch.nn.Linear(1, 1)
        torch.save(formula.fill(network, 7).state_dict(), folder / file.name)
        return find_weights([file], folder, download=False, progress=lambda line: None)[0]

    return make


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_lpips_is_the_original_programs(oracle, weights, device):
    facts, arrays = oracle
    group = torch.from_numpy(arrays["group_u8"]).float() / 127.5 - 1
    with full_float32():
        distances = Lpips(weights(alexnet_file()), device)(group.permute(0, 1, 4, 2, 3))
    expected = np.array(facts["lpips_pairs"])[np.triu_indices(4, 1)]
    assert distances.shape == (3, 6)
    np.testing.assert_allclose(distances.mean(axis=0), expected, rtol=0, atol=1e-4)
    assert distances.mean() == pytest.approx(facts["lpips_group"], abs=1e-4)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_inceptions_features_are_the_original_programs(oracle, weights, device):
    arrays = oracle[1]
    features = Inception(weights(inception_file()), device)
    images = np.concatenate([arrays["set_a_first4_u8"][:2], arrays["set_b_first4_u8"][:2]])
    expected = np.concatenate([arrays["features_a_first64"][:2], arrays["features_b_first64"][:2]])
    with full_float32():
        found = features(np.stack([prepare_official(image, (64, 64)) for image in images]))
    assert found.shape == (4, 2048)
    assert (np.abs(found[:, :64] - expected) <= 1e-3 * np.maximum(1, np.abs(expected))).all()


def test_the_frechet_distance_is_the_original_programs(oracle):
    facts, arrays = oracle
    real, generated = (arrays[f"features_{name}_first64"][:, :16] for name in ("a", "b"))
    assert Frechet([real], 16)([generated]) == pytest.approx(facts["frechet_first16"], rel=1e-4)
