from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.runtime.record import read_runs
from starcast.runtime.video.morph import morph
from starcast.runtime.video.options import MorphOptions

CODING = 5  # grey levels that an encoding and two colour conversions may cost
QUIET = {"progress": lambda line: None}


def options(**changes):
    return MorphOptions(**{"preset": "ultrafast", "crf": 1, "fps": "10.0", **changes})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.png"
    write_image(path, np.full((32, 32, 3), 128, np.uint8))
    return path


@pytest.fixture
def offsets(source, tiny_bundle, tmp_path):
    """offsets(duration="1s", …): what the film adds to the picture, for each frame, RGB."""

    def make(**changes):
        morph(tiny_bundle, source, tmp_path / "out.mp4", options(overwrite=True, **changes), **QUIET)
        with av.open(str(tmp_path / "out.mp4")) as container:
            return np.array([f.to_ndarray(format="rgb24")[16, 16] for f in container.decode(video=0)], float) - 128

    return make


def test_styles_are_spread_over_the_duration_and_the_loop_closes(offsets, offset_of):
    seen = offsets(domain="dog", seeds=("1", "2"), duration="0:02")
    assert len(seen) == 20
    assert np.abs(seen[0] - offset_of("dog", 1)).max() <= CODING
    assert np.abs(seen[10] - offset_of("dog", 2)).max() <= CODING
    np.testing.assert_allclose(seen[11:], seen[9:0:-1], atol=2)


def test_keys_of_styles_loop_over_the_duration(offsets, offset_of, tmp_path):
    seen = offsets(style_keys="0 dog seed=1 linear; 50% cat seed=2 hold", duration="1s")
    dog, cat = offset_of("dog", 1), offset_of("cat", 2)
    for number, truth in ((0, dog), (2, dog + 0.4 * (cat - dog)), (5, cat), (9, cat)):
        assert np.abs(seen[number] - truth).max() <= CODING
    [run] = read_runs(tmp_path / "out.mp4.json")
    assert [style["at"] for style in run["styles"]] == ["0", "50%"]


@pytest.mark.parametrize("length", [{"duration": "1s"}, {"frames_per_step": 10}])
def test_a_picture_dreams(offsets, offset_of, length):
    seen = offsets(domain="dog", seeds=("3",), recursion="0.5", **length)
    assert len(seen) == 10
    offset, last = offset_of("dog", 3), np.zeros(3)
    for number, colour in enumerate(seen):
        last = np.clip((last / 2 if number else 0) + offset, -128, 127)
        assert np.abs(colour - last).max() <= CODING


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"style_keys": "0 dog"}, "--style-keys needs the length of the video"),
        ({"style_keys": "0 dog", "seeds": ("1",), "duration": "1s"}, "--style-keys and --seeds exclude each other"),
        ({"seeds": ("1",), "duration": "50%"}, "--duration is 50%: give a duration"),
        ({"seeds": ("1",), "duration": "1s", "frames_per_step": 9}, "--duration and --frames-per-step exclude"),
        ({"seeds": ("1",), "official": True, "recursion": "0.5"}, "leave out --recursion"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes, reason):
    with pytest.raises(OptionError, match=reason):
        options(**changes)


def test_a_walk_between_seeds_may_last_as_long_as_asked_for(generator_bundle, tmp_path):
    report = morph(generator_bundle, None, tmp_path / "out.mp4", options(seeds=("1-3",), duration="0.7s"), **QUIET)
    assert report.frames == 7
    with pytest.raises(OptionError, match="makes images without one: leave it out"):
        morph(generator_bundle, None, tmp_path / "x.mp4", options(seeds=("1",), recursion="0.5"), **QUIET)
    assert not (tmp_path / "x.mp4").exists()
