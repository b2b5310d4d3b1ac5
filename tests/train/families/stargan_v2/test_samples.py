"""Sample grids: what stands where, and the rounding of the official stills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.train.data.folders import scan
from starcast.train.families.stargan_v2.samples import LATENTS, grids, sample_inputs
from starcast.train.samples import to_pixels
from starcast.train.state import fresh_state


@pytest.fixture
def inputs(images, small):
    return sample_inputs(scan(images), small)


def cell(grid, row, column, size=32, gap=2):
    return grid[:, gap + row * (size + gap) :, gap + column * (size + gap) :][:, :size, :size]


def test_sources_take_turns_by_domain_and_references_are_of_the_next(inputs):
    assert inputs.source_domains.tolist() == [0, 1] * 4
    assert inputs.reference_domains.tolist() == [1, 0] * 4


def test_held_out_images_come_first(images, inputs):
    with Image.open(images / "ink" / "val" / "4.png") as image:
        expected = torch.from_numpy(np.array(image.resize((32, 32), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert (to_pixels(inputs.sources[0]).int() - expected.int()).abs().max() <= 1


def test_the_grids_hold_sources_references_translations_and_reconstructions(inputs, small):
    averaged = fresh_state(small, 2).averaged
    with torch.inference_mode():
        style = averaged.style_encoder(inputs.references, inputs.reference_domains)
        translated = averaged.generator(inputs.sources, style)
    grid = grids(averaged, averaged, inputs)["reference"]
    assert grid.shape == (3, 4 * 34 + 2, 8 * 34 + 2)
    for column in (0, 5):
        assert torch.equal(cell(grid, 0, column), to_pixels(inputs.sources[column]))
        assert torch.equal(cell(grid, 1, column), to_pixels(inputs.references[column]))
        assert torch.equal(cell(grid, 2, column), to_pixels(translated[column]))
    assert not torch.equal(cell(grid, 3, 0), cell(grid, 2, 0))


def test_the_latent_grid_has_a_row_a_domain_and_latent(inputs, small):
    averaged = fresh_state(small, 2).averaged
    grid = grids(averaged, averaged, inputs)["latent"]
    assert grid.shape == (3, (1 + 2 * LATENTS) * 34 + 2, 8 * 34 + 2)
    with torch.inference_mode():
        style = averaged.mapping_network(inputs.latents[1:2], torch.tensor([1]))
        expected = averaged.generator(inputs.sources[3:4], style)[0]
    assert (cell(grid, 1 + LATENTS + 1, 3).int() - to_pixels(expected).int()).abs().max() <= 1


def test_a_domain_without_a_readable_image_is_grey(images, small):
    for path in images.glob("ink/*/*.png"):
        path.write_bytes(b"no image")
    assert sample_inputs(scan(images), small).sources[0].abs().max() == 0
