"""`video --layout`, `--opacity`, `--match-colour`: what is shown beside a translation, and in which colours."""

import av
import numpy as np
import pytest
from drawn_sight import HEIGHT, WIDTH, open_drawn_files, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import OptionError
from starcast.runtime.faces import opening
from starcast.runtime.video.compose import Composer
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.geometry_options import LAYOUTS, GeometryOptions
from starcast.runtime.video.match_colour import match_colour
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
CODING = 3  # grey levels that two encodings and two colour conversions may cost
YCC = np.array([[0.299, 0.587, 0.114], [0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]])  # ITU-T T.871


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, **changes})


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def composed(pixels: np.ndarray, change: int, *, mode: str = "stretch", size=(32, 32), **wanted) -> np.ndarray:
    """A frame through a model that adds `change`, composed."""
    chosen = GeometryOptions(**wanted)
    geometry = Geometry(size, mode, pixels.shape[:2] if chosen.puts_back else None, keeps_source=True)
    image, original, placing = geometry.cut(pixels)
    frame = RgbFrame(image + np.uint8(change), 0, 1, original=original, placing=placing)
    result = Composer(chosen, matches=chosen.match_colour).compose(frame).pixels
    assert result.shape[:2] == chosen.output_size(geometry.output)
    return result


def spread_and_mean(image: np.ndarray) -> np.ndarray:
    values = image.reshape(-1, 3).astype(float) @ YCC.T
    return np.array([values.mean(axis=0), values.std(axis=0)])


@pytest.mark.parametrize(("layout", "left", "right", "bottom"), [
    ("translation", 150, 150, 150), ("split", 100, 150, 100), ("side-by-side", 100, 150, 100),
    ("stacked", 100, 100, 150),
])  # fmt: skip
@pytest.mark.parametrize("keep_size", [True, False])
def test_each_layout_shows_the_source_in_its_place(layout, left, right, bottom, keep_size):
    frame = np.full((47, 63, 3), 100, np.uint8)
    shown = composed(frame, 50, layout=layout, keep_size=keep_size, mode="stretch")
    assert set(shown[0, 0]) == {left}
    assert set(shown[0, -1]) == {right}
    assert set(shown[-1, 0]) == {bottom}


@pytest.mark.parametrize(("split_at", "column"), [(0.0, 0), (0.25, 8), (1.0, 32)])
def test_the_split_is_where_it_is_asked_for(split_at, column):
    shown = composed(np.full((32, 32, 3), 100, np.uint8), 50, layout="split", split_at=split_at)
    assert list(shown[7, :, 0]) == [100] * column + [150] * (32 - column)


@pytest.mark.parametrize(("opacity", "level"), [(0.0, 100), (0.25, 113), (0.5, 125), (1.0, 150)])  # 112.5 up
def test_opacity_mixes_the_translation_with_its_source(opacity, level):
    shown = composed(np.full((48, 80, 3), 100, np.uint8), 50, opacity=opacity, keep_size=True, mode="stretch")
    assert np.abs(shown.astype(int) - level).max() <= 0.5 + (opacity == 0.25)  # half a level is rounded either way


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("mode", "keep_size"), [("crop", True), ("pad", False)])
def test_transparency_is_laid_out_like_the_pixels(layout, mode, keep_size):
    chosen = GeometryOptions(layout=layout, keep_size=keep_size)
    alpha = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
    geometry = Geometry((32, 32), mode, (40, 60) if keep_size else None, keeps_source=True)
    image, original, placing = geometry.cut(np.zeros((40, 60, 3), np.uint8))
    fitted = geometry.cut_alpha(alpha)
    frame = RgbFrame(image, 0, 1, original=original, placing=placing, alpha=fitted)
    shown = Composer(chosen, matches=False).compose(frame)
    assert shown.alpha.shape == shown.pixels.shape[:2]
    assert np.array_equal(shown.alpha[: len(fitted), : fitted.shape[1]], fitted)
    assert np.array_equal(shown.alpha[-len(fitted) :, -fitted.shape[1] :], fitted)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LAYOUTS), st.floats(0, 1), st.integers(32, 70), st.integers(32, 70))
def test_a_translation_that_equals_its_source_shows_nothing_but_the_source(layout, opacity, height, width):
    frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    shown = composed(frame, 0, layout=layout, opacity=opacity, keep_size=True, size=(height, width))
    assert np.array_equal(shown[-height:, -width:], frame)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0.4, 2.5), st.tuples(*[st.integers(-30, 30)] * 3))
def test_colours_have_the_sources_mean_and_spread(seed, gain, shift):
    noise = np.random.default_rng(seed)
    source = np.clip(noise.normal(128, 12, (60, 40, 3)), 0, 255).astype(np.uint8)
    translation = np.clip(noise.normal(128, 12 * gain, (32, 32, 3)) + shift, 0, 255).astype(np.uint8)
    matched = match_colour(translation, source)
    assert np.abs(spread_and_mean(matched) - spread_and_mean(source)).max() <= 0.75  # rounding, thrice


def test_a_flat_translation_stays_flat_and_has_the_sources_mean():
    source = np.random.default_rng(0).integers(60, 120, (32, 32, 3), np.uint8)
    matched = match_colour(np.full((32, 32, 3), 200, np.uint8), source)
    assert matched.std(axis=(0, 1)).max() == 0
    assert np.abs(matched[0, 0] - source.mean(axis=(0, 1))).max() <= 1


def test_a_model_that_flickers_does_so_no_more_than_the_source():
    """The means of a film that grows brighter slowly, through a model whose colours jump from frame to frame."""
    noise = np.random.default_rng(1)
    picture = noise.normal(0, 20, (40, 40, 3))
    sources = [np.clip(100 + number / 4 + picture, 0, 255).astype(np.uint8) for number in range(40)]
    jumps = [
        np.clip(one * noise.uniform(0.8, 1.2) + noise.uniform(-25, 25, 3), 0, 255).astype(np.uint8) for one in sources
    ]
    steps = {
        name: np.abs(np.diff([image.mean(axis=(0, 1)) for image in images], axis=0)).max()
        for name, images in [
            ("source", sources), ("model", jumps), ("matched", list(map(match_colour, jumps, sources)))
        ]
    }  # fmt: skip
    assert steps["model"] > 20
    assert steps["matched"] <= steps["source"] + 1


@pytest.mark.parametrize(("changes", "size"), [
    ({"layout": "side-by-side"}, (32, 64)), ({"layout": "stacked", "keep_size": True}, (96, 64)),
    ({"layout": "split", "fit": "native"}, (64, 48)), ({"layout": "side-by-side", "fit": "pad"}, (32, 64)),
])  # fmt: skip
def test_a_film_is_composed_of_upright_frames(make_clip, tiny_bundle, offset_of, tmp_path, changes, size):
    clip = make_clip("in.mp4", frames=2, rotation=0.0 if "keep_size" in changes else 90.0)
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(**changes), **QUIET)
    for number, frame in enumerate(frames_of(tmp_path / "out.mp4")):
        assert frame.shape[:2] == size
        source = 32 + 16 * number
        translated = np.clip(source + offset_of("dog", 3), 0, 255)
        height, width = size
        if changes["layout"] == "stacked":
            places = (frame[height // 4, width // 2], frame[height * 3 // 4, width // 2])
        else:
            places = (frame[height // 2, width // 4], frame[height // 2, width * 3 // 4])
        assert np.abs(places[0] - source).max() <= CODING
        assert np.abs(places[1] - translated).max() <= CODING


def test_faces_are_matched_to_their_own_colours(make_clip, tiny_bundle, offset_of, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_face_files", open_drawn_files)
    clip = make_clip("in.mp4", frames=2, width=WIDTH, height=HEIGHT, images=[scene(20), scene(23)])
    wanted = options(align=True, match_colour=True, layout="side-by-side")
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", wanted, **QUIET)
    assert np.abs(offset_of("dog", 3)).max() > 10
    for frame in frames_of(tmp_path / "out.mp4"):
        assert frame.shape[:2] == (HEIGHT, 2 * WIDTH)
        assert np.abs(frame[:, :WIDTH] - frame[:, WIDTH:]).mean() < 1  # the model only moves colours
        assert np.abs(frame[40:50, :WIDTH] - frame[40:50, WIDTH:]).max() <= 2 * CODING


@pytest.mark.parametrize("changes", [{"split_at": 0.3}, {"split_at": 0.3, "layout": "stacked"}])
def test_a_split_without_its_layout_is_refused(changes):
    with pytest.raises(OptionError, match="--split-at has no effect without --layout split"):
        options(**changes)
