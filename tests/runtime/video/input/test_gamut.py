"""Truth: the matrices of BT.2087 and SMPTE EG 432-1 and the curves of BT.1886 and sRGB, in float64."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from starcast.runtime.video import colour
from starcast.runtime.video.input import gamut
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import Source
from starcast.runtime.video.input.tags import Tags, conversion_note, tags_of

pytestmark = pytest.mark.skipif(
    not hasattr(av.VideoFrame, "color_primaries"), reason="this PyAV's frames have no primaries"
)

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# linear RGB to linear BT.709
TO_BT709 = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),  # BT.2087
    12: np.array([[1.2249, -0.2249, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0983]]),  # EG 432-1, D65
    6: np.array([[0.9395, 0.0502, 0.0103], [0.0178, 0.9658, 0.0164], [-0.0016, -0.0044, 1.0060]]),  # SMPTE-C, EG 1
}
MATRIX = {9: (9, 0.2627, 0.0593), 1: (1, 0.2126, 0.0722), 6: (6, 0.299, 0.114)}  # tag, weights of red and blue
COLOURS = np.array([
    [30, 200, 30], [200, 30, 30], [30, 30, 200], [255, 255, 255], [0, 0, 0], [128, 128, 128], [250, 200, 170],
    [40, 90, 160],
])  # fmt: skip
WIDTH, LINES = 16, 32


def power(gamma: float) -> tuple[Curve, Curve]:
    return lambda v: v**gamma, lambda light: np.clip(light, 0, None) ** (1 / gamma)


CURVES: dict[int, tuple[Curve, Curve]] = {
    1: power(2.4), 6: power(2.4), 14: power(2.4), 15: power(2.4),  # BT.1886
    4: power(2.2),
    13: (lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
         lambda light: np.where(light <= 0.0031308, 12.92 * light, 1.055 * abs(light) ** (1 / 2.4) - 0.055)),
    8: (power(2.4)[0], lambda light: light),  # linear light of colours whose values are shown with BT.1886's curve
}  # fmt: skip


def coded(colours: NDArray[Any], primaries: int, transfer: int) -> NDArray[np.float64]:
    """The R'G'B', 0 to 1, in which colours of BT.709 are coded with other primaries and the curve."""
    decode, encode = CURVES[transfer]
    light = decode(colours / 255) @ np.linalg.inv(TO_BT709.get(primaries, np.eye(3))).T
    return np.asarray(encode(light), np.float64)


def yuv_frame(rgb: NDArray[np.float64], pixel_format: str, matrix: int, *, is_full: bool = False) -> av.VideoFrame:
    """Vertical bars of R'G'B' [N, 3] as a 4:2:0 frame of 8 or more bits."""
    tag, red_weight, blue_weight = MATRIX[matrix]
    bits = bits_of(pixel_format)
    red, green, blue = np.repeat(rgb, WIDTH, axis=0).T
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / (2 * (1 - blue_weight)), (red - luma) / (2 * (1 - red_weight))]
    black, white, middle, span = levels_of(bits, is_full=is_full)
    lines = [black + white * luma, *(middle + span * difference[::2] for difference in chroma)]
    frame = av.VideoFrame(len(luma), LINES, pixel_format)
    for number, (plane, line) in enumerate(zip(frame.planes, lines, strict=True)):
        values = np.rint(line).clip(0, 2**bits - 1).astype(np.uint16 if bits > 8 else np.uint8)
        padded = np.zeros((LINES // (2 if number else 1), plane.line_size // values.itemsize), values.dtype)
        padded[:, : len(values)] = values
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = tag, 2 if is_full else 1
    return frame


def truth(frame: av.VideoFrame, primaries: int, transfer: int, matrix: int, *, is_full: bool) -> NDArray[np.float64]:
    """What each bar of a frame is in BT.709, from the values in its planes, 0 to 255."""
    bits = bits_of(frame.format.name)
    black, white, middle, span = levels_of(bits, is_full=is_full)
    values = [np.frombuffer(plane, np.uint16 if bits > 8 else np.uint8).astype(float) for plane in frame.planes]
    luma = (values[0][WIDTH // 2 : len(COLOURS) * WIDTH : WIDTH] - black) / white
    blue, red = ((one[WIDTH // 4 : len(COLOURS) * WIDTH // 2 : WIDTH // 2] - middle) / span for one in values[1:])
    _, red_weight, blue_weight = MATRIX[matrix]
    red, blue = luma + 2 * (1 - red_weight) * red, luma + 2 * (1 - blue_weight) * blue
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    decode, encode = CURVES[transfer]
    light = decode(np.clip(np.stack([red, green, blue], axis=1), 0, 1)) @ TO_BT709[primaries].T
    return np.asarray(255 * encode(np.clip(light, 0, 1)), np.float64)


def bits_of(pixel_format: str) -> int:
    return int(pixel_format.removesuffix("le")[len("yuv420p") :] or 8)


def levels_of(bits: int, *, is_full: bool) -> tuple[int, int, int, int]:
    """Black, white above it, the middle of chroma, and chroma's span."""
    level, most = 2 ** (bits - 8), 2**bits - 1
    return (0, most, 128 * level, most) if is_full else (16 * level, 219 * level, 128 * level, 224 * level)


def seen(frame: av.VideoFrame, **settings: Any) -> NDArray[np.int64]:
    return colour.to_rgb(frame, **settings)[LINES // 2, WIDTH // 2 :: WIDTH].astype(np.int64)


KINDS = {
    "BT.2020, 10 bits": (9, 14, 9), "BT.2020, 12 bits": (9, 15, 9), "BT.2020": (9, 1, 9), "BT.2020, sRGB": (9, 13, 9),
    "P3": (12, 1, 1), "P3, sRGB": (12, 13, 1), "P3, gamma 2.2": (12, 4, 1), "SMPTE-C": (6, 6, 6),
}  # fmt: skip


@pytest.mark.parametrize("is_full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv420p12le"])
@pytest.mark.parametrize(("primaries", "transfer", "matrix"), KINDS.values(), ids=KINDS)
def test_other_primaries_are_converted_in_linear_light(primaries, transfer, matrix, pixel_format, is_full):
    frame = yuv_frame(coded(COLOURS, primaries, transfer), pixel_format, matrix, is_full=is_full)
    frame.color_primaries, frame.color_trc = primaries, transfer
    assert np.abs(seen(frame) - truth(frame, primaries, transfer, matrix, is_full=is_full)).max() <= 1


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_green_in_bt2020_comes_out_within_3(pixel_format):
    frame = yuv_frame(coded(COLOURS[:1], 9, 14), pixel_format, 9)
    frame.color_primaries, frame.color_trc = 9, 14
    assert np.abs(seen(frame) - COLOURS[:1]).max() <= 3


def test_planar_rgb_has_primaries_too():
    values = np.rint(coded(COLOURS, 12, 13) * 65535).astype(np.uint16)
    pixels = np.tile(np.repeat(values, WIDTH, axis=0), (LINES, 1, 1))
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="gbrp12le")
    frame.color_primaries, frame.color_trc = 12, 13
    assert np.abs(seen(frame) - COLOURS).max() <= 1


@pytest.mark.parametrize("transfer", [1, 4, 5, 6, 7, 13, 14])
def test_a_curve_alone_changes_nothing_because_players_ignore_it(transfer):
    frame = yuv_frame(COLOURS / 255, "yuv420p10le", 1)
    frame.color_primaries, frame.color_trc = 1, transfer
    assert np.abs(seen(frame) - COLOURS).max() <= 1


def test_linear_light_gets_a_curve():
    frame = yuv_frame(coded(COLOURS, 1, 8), "yuv420p12le", 1)
    frame.color_primaries, frame.color_trc = 1, 8
    assert np.abs(seen(frame) - COLOURS)[:, :].max() <= 2


def test_transparency_lies_on_white_in_other_primaries_too():
    frame = yuv_frame(coded(COLOURS, 9, 14), "yuv420p", 9).reformat(format="yuva420p")
    alpha = np.frombuffer(frame.planes[3], np.uint8).copy()
    alpha[: len(alpha) // 2] = 0
    frame.planes[3].update(alpha.tobytes())
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, 14
    pixels = colour.to_rgb(frame)
    assert (pixels[: LINES // 2] == 255).all()
    assert np.abs(pixels[LINES - 4, WIDTH // 2 :: WIDTH].astype(int) - COLOURS).max() <= 4


@pytest.mark.parametrize("matrix", MATRIX)
def test_primaries_are_never_guessed(matrix):
    frame = yuv_frame(COLOURS / 255, "yuv420p10le", matrix)
    assert np.abs(seen(frame) - COLOURS).max() <= 1


def test_the_container_speaks_where_the_frame_is_silent_and_only_there():
    container = Tags(9, 9, 14)
    silent = yuv_frame(coded(COLOURS, 9, 14), "yuv420p10le", 9)
    silent.colorspace = 2
    assert np.abs(seen(silent, container=container) - COLOURS).max() <= 3
    speaking = yuv_frame(COLOURS / 255, "yuv420p10le", 1)
    speaking.color_primaries = speaking.color_trc = 1
    assert np.abs(seen(speaking, container=container) - COLOURS).max() <= 1


def test_a_containers_full_range_counts_for_frames_that_state_nothing():
    frame = yuv_frame(COLOURS / 255, "yuv420p10le", 1, is_full=True)
    frame.colorspace, frame.color_range = 2, 1
    assert np.abs(seen(frame, container=Tags(1, 1, 1, is_full=True)) - COLOURS).max() <= 1


def test_the_containers_matrix_counts_for_vp8_whose_frames_always_state_bt601():
    frame = yuv_frame(COLOURS / 255, "yuv420p10le", 1)
    frame.colorspace = 5
    assert np.abs(seen(frame, container=Tags(1, outranks_frames=True)) - COLOURS).max() <= 1
    frame = yuv_frame(COLOURS / 255, "yuv420p10le", 6)
    assert np.abs(seen(frame, container=Tags(outranks_frames=True)) - COLOURS).max() <= 1


@pytest.mark.parametrize(("primaries", "transfer", "words"), [
    (9, 14, "has BT.2020 colours, which are converted to BT.709"), (12, 13, "has Display P3 colours"),
    (1, 8, "linear light"), (1, 1, None), (2, 2, None),
])  # fmt: skip
def test_a_conversion_is_said(primaries, transfer, words):
    frame = yuv_frame(COLOURS / 255, "yuv420p", 1)
    frame.color_primaries, frame.color_trc = primaries, transfer
    note = conversion_note(tags_of(frame))
    assert note is None if words is None else words in note


@pytest.mark.parametrize("primaries", sorted(gamut.PRIMARIES))
@settings(max_examples=30, deadline=None)
@given(greys=arrays(np.uint16, (1, 8, 1)))
def test_greys_stay_grey_in_every_colour_space(primaries, greys):
    levels = np.repeat(greys, 3, axis=2)
    assert np.abs(gamut.convert(levels, primaries, 13) - np.rint(levels / 257)).max() <= 1


@pytest.mark.parametrize(("primaries", "expected"), TO_BT709.items())
def test_the_matrices_are_those_of_the_standards(primaries, expected):
    matrix = gamut.matrix_between(gamut.PRIMARIES[primaries], gamut.BT709)
    np.testing.assert_allclose(matrix, expected, atol=6e-4)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program, to tag a container alone")
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_hevc_without_tags_of_its_own_has_those_of_its_container(tmp_path, make_clip, suffix):
    frame = yuv_frame(coded(COLOURS, 9, 14), "yuv420p", 9)
    planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    plain = make_clip(
        "plain.mkv", frames=2, height=LINES, width=len(COLOURS) * WIDTH, codec="libx265", planes=planes,
        options=(("x265-params", "lossless=1:log-level=none"),),
    )  # fmt: skip
    tagged = tmp_path / f"tagged.{suffix}"
    tags = ["-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "bt2020-10"]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", plain, "-c", "copy", *tags, tagged], check=True)
    with Source(tagged) as source:
        assert source.changes == ["has BT.2020 colours, which are converted to BT.709"]
        first = next(item.frame for item in source.read() if isinstance(item, Frame))
        expected = truth(frame, 9, 14, 9, is_full=False)
        assert np.abs(seen(first, container=source.stated) - expected).max() <= 1
