"""Parts are cut out of frames for the model, and their translations go back to where they were cut out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import OptionError
from starcast.runtime.video.compose import Composer
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry, Placing, place, resample
from starcast.runtime.video.geometry_options import FEATHER, GeometryOptions

MODES = ("crop", "pad", "stretch", "native")


def slope(height: int, width: int) -> np.ndarray:
    """A frame whose value at a place is exact at any resolution: 0.5 levels a pixel to the right, 0.25 downwards."""
    down, across = np.mgrid[:height, :width]
    return np.repeat(np.rint(40 + across * 0.5 + down * 0.25)[..., None], 3, axis=2).astype(np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def passed(geometry: Geometry, pixels: np.ndarray, feather: float = FEATHER, change: int = 0) -> np.ndarray:
    """A frame through a model that adds `change`."""
    image, whole, placing = geometry.cut(pixels)
    assert image.shape[:2] == geometry.size
    back = put_back(whole, image + np.uint8(change), placing, feather)
    assert back.shape[:2] == geometry.output
    return back


def put_back(frame: np.ndarray, translation: np.ndarray, placing: Placing, feather: float) -> np.ndarray:
    composer = Composer(GeometryOptions(keep_size=True, feather=feather), matches=False)
    before = frame.copy()
    composed = composer.compose(RgbFrame(translation, 5, 2, original=frame, placing=placing))
    assert np.array_equal(frame, before)
    assert (composed.pts, composed.duration, composed.original, composed.placing) == (5, 2, None, None)
    return composed.pixels


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODES), st.integers(33, 200), st.integers(33, 200), st.floats(0, 0.5))
def test_a_model_that_changes_nothing_gives_the_frame_back(mode, height, width, feather):
    frame = slope(height, width)
    size = (height, width) if mode == "native" else (32, 32)
    back = passed(Geometry(size, mode, (height, width)), frame, feather).astype(int)
    flat = max(height, width) / 32 / 2  # pixels at the border that half a pixel of the model covers
    # the frame and the result are rounded once, the model's image twice, which cubic interpolation amplifies by 1.375
    # in each direction: 0.5 + 1.9 + 0.5, so whole levels differ by 2 at most
    limit = 2.9 + (0.5 + 0.25) * flat
    inner = (slice(height // 16 + 4, -height // 16 - 4), slice(width // 16 + 4, -width // 16 - 4))
    assert np.abs(back - frame)[inner].max() <= 2
    assert np.abs(back - frame)[inner].mean() <= 0.6  # half a pixel of the model would be up to 1.5
    assert np.abs(back - frame).max() <= limit


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_at_equal_sizes_the_frame_comes_back_exactly_and_outside_the_part_nothing_changes(data):
    height, width = data.draw(st.integers(20, 90)), data.draw(st.integers(20, 90))
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    left, top = data.draw(st.integers(0, width - columns)), data.draw(st.integers(0, height - rows))
    roi = (left, top, left + columns, top + rows)
    mode, feather = data.draw(st.sampled_from(MODES)), data.draw(st.floats(0, 0.5))
    frame = noise(height, width)
    same = Geometry((rows, columns), mode, (height, width), roi)
    assert np.array_equal(passed(same, frame.copy(), feather), frame)
    other = frame.copy()
    changed = passed(Geometry((32, 32), mode, (height, width), roi), frame.copy(), feather, change=100)
    other[top : top + rows, left : left + columns] = changed[top : top + rows, left : left + columns]
    assert np.array_equal(changed, other)


@pytest.mark.parametrize(("mode", "part", "inside"), [
    ("crop", (20, 0, 68, 48), (0, 0, 32, 32)),
    ("pad", (0, 0, 88, 48), (0, 7, 32, 24)),  # 32 x 48 / 88 = 17.45
    ("stretch", (0, 0, 88, 48), (0, 0, 32, 32)),
])  # fmt: skip
def test_each_mode_has_its_part_of_the_frame(mode, part, inside):
    placing = place((0, 0, 88, 48), (32, 32), mode)
    assert (placing.part, placing.inside) == (part, inside)
    assert placing.soft == (mode == "crop", False, mode == "crop", False)


def test_the_edge_is_soft_inside_the_frame_and_hard_at_its_border():
    frame = np.full((40, 80, 3), 100, np.uint8)
    placing = place((0, 0, 80, 40), (40, 40), "crop")  # columns 20 to 60
    frame = put_back(frame, np.full((40, 40, 3), 200, np.uint8), placing, 0.25)  # 10 columns
    assert np.array_equal(frame, np.repeat(frame[:1], 40, axis=0))
    row = frame[0, :, 0].astype(int)
    assert set(row[:20]) == set(row[60:]) == {100}
    assert set(row[30:50]) == {200}
    steps = np.diff(row[19:31])
    assert (steps >= 0).all()
    assert steps.max() <= 16  # smoothstep rises 1.5 times as fast as a line, 100 / 10
    assert np.array_equal(row, row[::-1])
    hard = np.full((40, 80, 3), 100, np.uint8)
    hard = put_back(hard, np.full((40, 40, 3), 200, np.uint8), placing, 0.0)
    assert list(hard[0, 18:22, 0]) == [100, 100, 200, 200]


def test_a_later_frame_of_another_size_is_translated_without_its_margins():
    geometry = Geometry((32, 32), "stretch", (60, 80))
    frame = np.full((60, 40, 3), 90, np.uint8)  # 40 x 60 in 80 x 60: 20 columns of margin on each side
    back = passed(geometry, frame, change=50)
    assert set(back[:, :20].flat) == set(back[:, 60:].flat) == {0}
    assert set(back[:, 20:60].flat) == {140}


@pytest.mark.parametrize("size", [(32, 32), (20, 100), (100, 20), (100, 100)])
def test_resampling_keeps_places(size):
    """A line's value at pixel centres: (x + 0.5) * scale - 0.5."""
    image = np.repeat(np.repeat(np.arange(0, 200, 4, dtype=np.uint8)[None], 50, axis=0)[..., None], 3, axis=2)
    row = resample(image, size)[size[0] // 2, :, 0].astype(float)
    wanted = 4 * ((np.arange(size[1]) + 0.5) * 50 / size[1] - 0.5)
    assert np.abs(row - wanted)[size[1] // 10 : -size[1] // 10].max() <= 1
    assert resample(image, (50, 50)) is image


@pytest.mark.parametrize(("roi", "box"), [
    (("10", "4", "30", "20"), (10, 4, 40, 24)),
    (("25%", "0%", "50%", "100%"), (16, 0, 47, 47)),  # of 63: 15.75 and 47.25
    (("0", "0", "63", "47"), (0, 0, 63, 47)),
    (("33", "50%", "30", "50%"), (33, 24, 63, 47)),  # 23.5, to even
])  # fmt: skip
def test_a_part_is_given_in_pixels_or_percent(roi, box):
    assert GeometryOptions(roi=roi).roi_in((47, 63), "in.mp4") == box


@pytest.mark.parametrize("roi", [
    ("1", "2", "3"), ("1", "2", "3", "x"), ("1.5", "0", "4", "4"), ("0", "0", "0", "4"), ("0", "0", "nan%", "4"),
    ("0", "0", "4", "-4"), ("0", "0", "inf%", "4"), ("", "0", "4", "4"),
])  # fmt: skip
def test_a_part_that_is_none_is_refused(roi):
    with pytest.raises(OptionError, match="--roi "):
        GeometryOptions(roi=roi)


@pytest.mark.parametrize("roi", [("40", "0", "30", "20"), ("-1", "0", "9", "9"), ("60%", "0%", "50%", "50%")])
def test_a_part_outside_the_frame_is_refused_with_the_frames_size(roi):
    with pytest.raises(OptionError, match=r"outside the frames of in\.mp4, which are 63x47 pixels"):
        GeometryOptions(roi=roi).roi_in((47, 63), "in.mp4")


def test_less_than_a_pixel_is_refused():
    with pytest.raises(OptionError, match="less than a pixel"):
        GeometryOptions(roi=("0%", "0%", "0.1%", "50%")).roi_in((47, 63), "in.mp4")


def test_a_part_is_put_back_without_asking_for_it():
    with pytest.raises(OptionError, match="--roi puts its part back into the frame anyway: leave out --keep-size"):
        GeometryOptions(roi=("0", "0", "8", "8"), keep_size=True)


def test_a_feather_without_a_part_is_refused():
    with pytest.raises(OptionError, match="--feather has no effect without"):
        GeometryOptions(feather=0.3)
