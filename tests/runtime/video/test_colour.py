"""Truth: the definitions of BT.601, BT.709 and BT.2020 in float64."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from starcast.errors import VideoError
from starcast.runtime.video import colour

LUMA_WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}  # of red and blue
MATRIX_TAG = {"601": 6, "709": 1, "2020": 9}  # ITU-T H.273
LIMITED, FULL, UNTAGGED = 1, 2, 0
BARS = np.array(
    [[255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0],
     [200, 60, 30], [128, 128, 128], [40, 90, 160], [250, 200, 170]], np.float64,
)  # fmt: skip
BAR_WIDTH = 16


def bar_planes(
    matrix: str, value_range: int, bits: int, lines: int, chroma: tuple[int, int]
) -> list[NDArray[np.uint16]]:
    """Y, Cb and Cr of vertical bars; `chroma` (vertical, horizontal) says by how much it is coarser."""
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    red, green, blue = (np.repeat(BARS, BAR_WIDTH, axis=0) / 255).T
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    differences = ((blue - luma) / (2 * (1 - blue_weight)), (red - luma) / (2 * (1 - red_weight)))
    scale = 2 ** (bits - 8)
    if value_range == FULL:
        luma, differences = (2**bits - 1) * luma, tuple((2**bits - 1) * d + 128 * scale for d in differences)
    else:
        luma, differences = (16 + 219 * luma) * scale, tuple((128 + 224 * d) * scale for d in differences)
    down, along = chroma
    rows = [np.tile(luma, (lines, 1)), *(np.tile(d[::along], (lines // down, 1)) for d in differences)]
    return [np.rint(row).clip(0, 2**bits - 1).astype(np.uint16 if bits > 8 else np.uint8) for row in rows]


def middles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colour in the middle of each bar."""
    return pixels[pixels.shape[0] // 2, BAR_WIDTH // 2 :: BAR_WIDTH].astype(np.float64)


def frame_of(planes: list[NDArray[np.uint16]], pixel_format: str, matrix: int, value_range: int) -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = matrix, value_range
    return frame


@pytest.mark.parametrize("value_range", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["601", "709", "2020"])
@pytest.mark.parametrize(
    ("pixel_format", "bits", "chroma"),
    [("yuv420p", 8, (2, 2)), ("yuv422p", 8, (1, 2)), ("yuv444p", 8, (1, 1)), ("yuv420p10le", 10, (2, 2)),
     ("yuv444p10le", 10, (1, 1)), ("yuv420p12le", 12, (2, 2))],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_colour_bars_come_out_as_they_were_coded(pixel_format, bits, chroma, matrix, value_range):
    frame = frame_of(bar_planes(matrix, value_range, bits, 32, chroma), pixel_format, MATRIX_TAG[matrix], value_range)
    assert np.abs(middles(colour.to_rgb(frame)) - BARS).max() <= 2


@pytest.mark.parametrize(("columns", "lines", "matrix"), [
    (192, 576, "601"), (192, 578, "709"), (1278, 96, "601"), (1280, 96, "709"), (1278, 576, "601"), (192, 1080, "709"),
])  # fmt: skip
def test_untagged_frames_are_709_from_1280_columns_or_above_576_lines_and_otherwise_601(columns, lines, matrix):
    planes = bar_planes(matrix, LIMITED, 8, lines, (2, 2))
    wide = [np.pad(plane, ((0, 0), (0, (columns - 192) * plane.shape[1] // 192)), mode="edge") for plane in planes]
    frame = frame_of(wide, "yuv420p", 2, UNTAGGED)
    assert np.abs(middles(colour.to_rgb(frame)[:, :192]) - BARS).max() <= 2


def test_a_format_whose_name_says_full_range_is_full_without_a_tag():
    frame = frame_of(bar_planes("601", FULL, 8, 32, (2, 2)), "yuvj420p", MATRIX_TAG["601"], UNTAGGED)
    assert np.abs(middles(colour.to_rgb(frame)) - BARS).max() <= 2


@pytest.mark.parametrize(("lines", "matrix"), [(48, "601"), (578, "709")])
@pytest.mark.parametrize(
    ("value_range", "tagged"), [(LIMITED, True), (FULL, True), (LIMITED, False)], ids=["limited", "full", "untagged"]
)
@pytest.mark.parametrize(("pixel_format", "bits"), [("yuv420p", 8), ("yuv420p10le", 10)])
def test_bars_in_a_file_come_through_decoding(make_clip, lines, matrix, value_range, tagged, pixel_format, bits):
    tags = (("colorspace", MATRIX_TAG[matrix]), ("color_range", value_range)) if tagged else ()
    clip = make_clip(
        "bars.mp4", frames=2, height=lines, width=len(BARS) * BAR_WIDTH, pix_fmt=pixel_format, colours=tags,
        planes=bar_planes(matrix, value_range, bits, lines, (2, 2)), options=(("preset", "ultrafast"), ("qp", "0")),
    )  # fmt: skip
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
        assert np.abs(middles(colour.to_rgb(frame)) - BARS).max() <= 2


def test_rgb_and_planar_rgb_come_through_to_the_bit():
    pixels = np.tile(np.repeat(BARS, BAR_WIDTH, axis=0).astype(np.uint8), (16, 1, 1))
    for pixel_format in ("rgb24", "bgr24", "gbrp", "bgr0", "gbrp10le", "rgb48le"):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
        np.testing.assert_array_equal(colour.to_rgb(frame), pixels, err_msg=pixel_format)


@pytest.mark.parametrize(("pixel_format", "bits"), [("gray", 8), ("gray10le", 10), ("gray12le", 12)])
@pytest.mark.parametrize(("value_range", "black", "white"), [(LIMITED, 16, 235), (FULL, 0, 255), (UNTAGGED, 0, 255)])
def test_grey_is_stretched_only_where_it_is_tagged_limited(pixel_format, bits, value_range, black, white):
    levels = np.array([black, (black + white) // 2, white])
    if value_range == LIMITED:
        coded, truth = levels * 2 ** (bits - 8), (levels - 16) * 255 / 219
    else:
        coded, truth = np.rint(levels / 255 * (2**bits - 1)).astype(int), levels.astype(float)
    plane = np.tile(np.repeat(coded, 16), (16, 1)).astype(np.uint16 if bits > 8 else np.uint8)
    pixels = colour.to_rgb(frame_of([plane], pixel_format, 2, value_range))
    assert np.abs(pixels[8, 8::16] - truth[:, None]).max() <= 1.5


def test_transparency_is_laid_on_white():
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, 64
    seen = colour.to_rgb(av.VideoFrame.from_ndarray(pixels, format="rgba"))
    np.testing.assert_allclose(seen[8, 8], 255 + (np.array([200, 0, 0]) - 255) * 64 / 255, atol=0.5)


def test_what_is_written_is_bt709_limited_by_the_numbers_and_by_the_tags():
    frame = colour.to_coded(np.tile(np.repeat(BARS, BAR_WIDTH, axis=0).astype(np.uint8), (32, 1, 1)))
    truth = bar_planes("709", LIMITED, 8, 32, (2, 2))
    for plane, expected, step in zip(frame.planes, truth, (BAR_WIDTH, BAR_WIDTH // 2, BAR_WIDTH // 2), strict=True):
        seen = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
        difference = seen[8, step // 2 :: step].astype(int) - expected[8, step // 2 :: step]
        assert np.abs(difference).max() <= 1
    assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p", 1, LIMITED)


def test_odd_sides_are_padded_by_a_pixel():
    frame = colour.to_coded(np.full((15, 17, 3), 99, np.uint8))
    assert (frame.height, frame.width) == (16, 18)
    assert np.abs(colour.to_rgb(frame).astype(int) - 99).max() <= 1


def test_a_matrix_that_cannot_be_read_is_named():
    frame = frame_of(bar_planes("601", FULL, 8, 32, (2, 2)), "yuv420p", 8, FULL)
    with pytest.raises(VideoError, match=r"odd\.mp4 has colours coded as YCgCo.*ffmpeg"):
        colour.to_rgb(frame, "odd.mp4")
