"""What sample grids are made of: pixels, and a file."""

from __future__ import annotations

import torch
from PIL import Image

from starcast.train.samples import to_pixels, write_grid


def test_pixels_round_half_up_and_clip():
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0])
    assert to_pixels(values).tolist() == [0, 0, 128, 255, 255]  # (0 + 1) / 2 * 255 + 0.5 = 128


def test_a_grid_is_written_as_a_jpeg(tmp_path):
    write_grid(tmp_path / "samples" / "grid.jpg", torch.full((3, 20, 30), 200, dtype=torch.uint8))
    with Image.open(tmp_path / "samples" / "grid.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (30, 20))
