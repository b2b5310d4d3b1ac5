"""The landmark network's weights come from whatever official file has them, or one sentence says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from face_oracles import formula_weights

from starcast.errors import CheckpointError
from starcast.train.families.stargan_v2.landmark_weights import open_landmarks, read_landmarks_file
from starcast.train.families.stargan_v2.landmarks import FAN, find_landmarks


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return formula_weights(FAN().state_dict(), salt=1)


def test_the_network_has_as_many_parameters_as_the_official_one():
    assert sum(parameter.numel() for parameter in FAN().parameters()) == 6_333_603
    assert len(FAN().state_dict()) == 336


def test_training_mode_leaves_its_norms_on_their_statistics():
    network = FAN().train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": state | {"m1.b1_4.conv1.weight": torch.zeros(2)}},
        lambda state: {"generator": {}, "fan": state},
        lambda state: {"format": 1, "averaged": {"generator": {}, "fan": state}},
        lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    ],
)
def test_weights_are_found_in_every_kind_of_file(state, tmp_path: Path, wrap):
    torch.save(wrap(state), tmp_path / "wing.ckpt")
    found = read_landmarks_file(tmp_path / "wing.ckpt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {"generator": {"from_rgb.weight": torch.zeros(2)}}, "no weights of the landmark network"),
        (lambda state: {"state_dict": state | {"l0.bias": torch.zeros(68)}}, "another landmark network"),
        (lambda state: {"state_dict": {k: v for k, v in state.items() if k != "bn1.weight"}}, "lacks bn1.weight"),
        (lambda state: {"state_dict": state | {"l0.bias": torch.full((99,), torch.nan)}}, "not finite"),
        (lambda state: [1, 2], "no weights"),
    ],
)
def test_any_other_file_is_refused_in_one_sentence_that_says_where_the_right_one_is(state, tmp_path, change, reason):
    torch.save(change(state), tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=reason) as error:
        read_landmarks_file(tmp_path / "other.ckpt")
    assert "other.ckpt" in str(error.value)
    assert "github.com/clovaai/stargan-v2" in str(error.value)


def test_landmarks_of_an_image_of_any_size_lie_inside_it(state, tmp_path: Path):
    torch.save({"state_dict": state}, tmp_path / "wing.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (100, 60, 3), dtype=np.uint8)
    landmarks = find_landmarks(open_landmarks(tmp_path / "wing.ckpt"), image)
    assert landmarks.shape == (98, 2)
    assert (landmarks >= 0).all()
    assert (landmarks <= [60, 100]).all()
