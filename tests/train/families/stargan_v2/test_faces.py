"""Masks of a face's features: exactly the official ones, and their arithmetic at single places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from face_oracles import as_input, fill_fan, load_face_oracle

from starcast.images.landmarks import read_landmarks
from starcast.train.families.stargan_v2.faces import masks_of
from starcast.train.families.stargan_v2.landmarks import FAN

TOLERANCE = 1e-3  # of the masks; the oracle's README


def one_landmark(number: int, row: int = 32, value: float = 1.0) -> torch.Tensor:
    """Heatmaps with a single cell set, in the map of one landmark."""
    maps = torch.zeros(1, 98, 64, 64)
    maps[0, number, row, 30] = value
    return maps


def peak_row(mask: torch.Tensor) -> int:
    return int(mask.max(dim=1).values.argmax())


# The cell in row 32 of 64 is at row 32 * 255 / 63 = 129.5 of 256, where corners are aligned: its rows are 129 and 130
@pytest.mark.parametrize(
    ("landmark", "rows_up", "in_second"),
    [(10, 0, False), (40, -7, False), (51, 0, True), (53, 4, True), (57, 8, True), (79, -8, False), (85, 8, False),
     (90, -2, False), (96, 0, True)],
)  # fmt: skip
def test_each_part_moves_as_the_official_one_and_is_in_its_masks(landmark, rows_up, in_second):
    masks = masks_of(one_landmark(landmark))
    assert masks.shape == (1, 2, 256, 256)
    assert peak_row(masks[0, 0]) in (129 - rows_up, 130 - rows_up)
    assert (masks[0, 1].max() > 0) == in_second


@pytest.mark.parametrize("landmark", [0, 7, 25, 32, 33, 46, 76, 82])
def test_cheeks_and_ends_of_brows_and_lips_are_in_no_mask(landmark):
    assert not masks_of(one_landmark(landmark)).any()


def test_an_eye_stands_in_the_masks_twice():
    column = masks_of(one_landmark(64))[0, 0].max(dim=1).values
    assert min(column[129 + 8], column[129 + 24]) > 0.9
    assert column[129] == 0


def test_rows_pushed_over_the_edge_come_back_on_the_other_side():
    assert peak_row(masks_of(one_landmark(57, row=0))[0, 0]) >= 256 - 8


@pytest.mark.parametrize("value", [0.0, 0.05, -3.0])
def test_nothing_below_the_floor_shows(value):
    masks = masks_of(one_landmark(96, value=value))
    assert not masks.any()


def test_masks_are_between_0_and_1_and_finite_for_any_heatmaps():
    wild = torch.randn(2, 98, 64, 64, generator=torch.Generator().manual_seed(0)) * 50
    wild[0, 60, 0, 0] = torch.nan
    masks = masks_of(wild)
    assert torch.isfinite(masks).all()
    assert 0 <= masks.min() <= masks.max() <= 1


def test_masks_of_the_oracles_heatmaps_are_the_officials():
    oracle = load_face_oracle("masks.npz")
    masks = masks_of(torch.from_numpy(oracle["heatmaps"].astype(np.float32)))
    wanted = torch.from_numpy(oracle["masks"])[:, :, 0].transpose(0, 1)
    assert (masks - wanted).abs().max() < TOLERANCE


@torch.no_grad()
def test_landmark_network_and_masks_of_images_are_the_officials():
    oracle = load_face_oracle("fan.npz")
    network = FAN()
    fill_fan(network)
    heatmaps = network(as_input(oracle["image_u8"]))
    masks = masks_of(heatmaps)
    wanted = torch.from_numpy(oracle["heatmaps_every7"])
    assert ((heatmaps[:, ::7] - wanted).abs() / wanted.abs().clamp(min=1)).max() < 2e-4
    assert (masks - torch.from_numpy(oracle["masks"])[:, :, 0].transpose(0, 1)).abs().max() < TOLERANCE
    assert np.array_equal(read_landmarks(heatmaps.numpy(), 256, 256), oracle["landmarks"])
