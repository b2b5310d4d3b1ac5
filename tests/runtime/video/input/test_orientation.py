from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from starcast.runtime.video.colour import to_rgb
from starcast.runtime.video.input.orientation import display_matrix, make_pixels_square, square_size, turn_upright

CORNERS = np.array([[[220, 40, 40], [40, 200, 40]], [[40, 60, 220], [200, 200, 40]]], np.uint8)  # four colours


def scene(height: int = 32, width: int = 64) -> np.ndarray:
    return np.repeat(np.repeat(CORNERS, height // 2, axis=0), width // 2, axis=1)


@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_clip_is_put_upright(make_clip, degrees, mirrored):
    # PyAV documents the rotation as counter-clockwise and the mirroring as coming after it
    clip = make_clip(
        "turned.mp4", frames=1, height=32, width=64, images=[scene()], rotation=degrees, mirrored=mirrored,
        pix_fmt="yuv444p",
    )  # fmt: skip
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
        seen = turn_upright(to_rgb(frame), display_matrix(frame))
    expected = np.rot90(scene(), degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).max() < 30


def test_a_clip_without_a_matrix_stays():
    assert turn_upright(scene(), display_matrix(av.VideoFrame(64, 32, "yuv420p"))).tolist() == scene().tolist()


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(Fraction(1), (32, 64)), (Fraction(4, 3), (32, 85)), (Fraction(8, 9), (36, 64)), (Fraction(2), (32, 128))],
)
def test_pixels_are_made_square_by_stretching_the_short_side(aspect, size):
    assert make_pixels_square(scene(), square_size(32, 64, aspect)).shape[:2] == size


@pytest.mark.parametrize("aspect", [Fraction(1000), Fraction(1, 1000)])
def test_an_aspect_that_can_only_be_damage_is_left_alone(aspect):
    assert square_size(32, 64, aspect) == (32, 64)
