from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.runtime.record import read_runs
from starcast.runtime.video.flow import FlowFinder, warp, warping_error
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.restart.memory import restore
from starcast.runtime.video.smooth import Smoother
from starcast.runtime.video.translate import translate_video

SIDE, STEP = 64, 2  # pixels, and how far the scene moves per frame


def scene(count: int) -> np.ndarray:
    """A soft pattern that moves to the left by STEP pixels a frame."""
    noise = np.random.default_rng(5).random((SIDE, SIDE + STEP * count, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    soft = 255 * (soft - soft.min()) / (soft.max() - soft.min())
    return np.array([soft[:, STEP * n : STEP * n + SIDE] for n in range(count)]).astype(np.uint8)


def flickering(frames: np.ndarray) -> np.ndarray:
    """Translations whose brightness jumps from frame to frame."""
    jump = np.where(np.arange(len(frames)) % 2, 12, -12)[:, None, None, None]
    return np.clip(frames.astype(int) // 2 + 64 + jump, 0, 255).astype(np.uint8)


def test_the_motion_of_a_scene_is_found_and_what_came_in_is_not_visible():
    before, now = scene(2)
    motion = FlowFinder().find(before, now)
    inside = motion.came_from[8:-8, 8:-8, 0] - np.arange(8, SIDE - 8)
    assert np.abs(inside - STEP).mean() < 0.2
    assert motion.visible[8:-8, 8:-8].mean() > 0.95
    assert not motion.visible[:, -1].any()
    moved = warp(before.astype(np.float32), motion.came_from)
    assert np.abs(moved - now)[motion.visible].mean() < 2


def test_the_warping_error_is_the_mean_square_in_units_of_the_range():
    frames = np.repeat(scene(1), 2, axis=0)
    motion = FlowFinder().find(*frames)
    before, now = np.zeros((SIDE, SIDE, 3), np.float32), np.full((SIDE, SIDE, 3), 51, np.float32)
    # 3 channels that differ by a fifth of the range
    assert warping_error(before, now, motion) == pytest.approx(3 * 0.2**2)
    assert warping_error(before, now, motion._replace(visible=np.zeros((SIDE, SIDE), bool))) is None


def test_flicker_becomes_less_and_the_error_says_so():
    sources = scene(12)
    smoother = Smoother(0.8)
    for source, translation in zip(sources, flickering(sources), strict=True):
        smoother.smooth(source, translation)
    error = smoother.warping_error
    # brightness jumps by 24 levels: 3 (24 / 255)²
    assert error["before"] == pytest.approx(3 * (24 / 255) ** 2, rel=0.1)
    assert error["after"] < 0.3 * error["before"]


def test_a_cut_leaves_nothing_of_the_frame_before():
    first, second = scene(1)[0], np.random.default_rng(9).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    smoother = Smoother(1.0)
    smoother.smooth(first, np.zeros_like(first))
    after = smoother.smooth(second, np.full_like(second, 200))
    assert (after >= 190).mean() > 0.95


def test_strength_0_changes_nothing():
    smoother = Smoother(0.0)
    for source, translation in zip(scene(4), flickering(scene(4)), strict=True):
        np.testing.assert_array_equal(smoother.smooth(source, translation), translation)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_that_goes_on_from_a_state_equals_an_unbroken_one(stop):
    sources = scene(6)
    pairs = list(zip(sources, flickering(sources), strict=True))
    whole, first, second = Smoother(0.7), Smoother(0.7), Smoother(0.7)
    unbroken = [whole.smooth(*pair) for pair in pairs]
    begun = [first.smooth(*pair) for pair in pairs[:stop]]
    restore({"smooth": second}, {f"smooth/{name}": values for name, values in first.state().items()})
    np.testing.assert_array_equal([*begun, *(second.smooth(*pair) for pair in pairs[stop:])], unbroken)
    assert second.warping_error == whole.warping_error


def test_a_films_record_has_its_warping_error(make_clip, watch, tiny_bundle, tmp_path):
    frames = scene(8)[:, :32, :32]
    clip = make_clip("in.mp4", frames=8, images=list(frames), width=32, height=32, rate=Fraction(10), sounds=("aac",))
    # the style flickers between two
    keys = "; ".join(f"{number}f dog seed={1 + number % 2} hold" for number in range(8))
    for smooth in (0.0, 0.8):
        options = VideoOptions(
            style_keys=keys, smooth=smooth, preset="ultrafast", crf=1, overwrite=True, batch=4, backend="onnxruntime"
        )
        report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options, progress=lambda line: None)
        assert report.frames == 8
        error = read_runs(tmp_path / "out.mp4.json")[-1]["statistics"].get("warping_error")
        assert error is None if not smooth else error["after"] < 0.5 * error["before"]
    assert len(watch(tmp_path / "out.mp4").samples) == 1


def test_faces_are_not_smoothed():
    with pytest.raises(OptionError, match="--smooth follows whole frames, and --align translates faces"):
        VideoOptions(domain="dog", smooth=0.5, align=True)
