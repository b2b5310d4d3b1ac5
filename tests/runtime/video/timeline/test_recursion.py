from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.restart.memory import restore
from starcast.runtime.video.timeline.recursion import motion, recursion_of
from starcast.runtime.video.timeline.recursion_options import RecursionOptions
from starcast.runtime.video.translate import translate_video

RATE = Fraction(10)
MOVING = RecursionOptions(
    recursion="0 0.3; 0.5 0.8; 1 0.5", recursion_zoom="0 1.02 linear; 1 0.97", recursion_shift="1.5,-0.75",
    recursion_rotate="0 2; 50% -3", recursion_shear="0.03",
)  # fmt: skip


def mirrored(index: np.ndarray, count: int) -> np.ndarray:
    """Indices reflected at the first and the last pixel."""
    index = np.abs(index) % (2 * count - 2)
    return np.where(index >= count, 2 * count - 2 - index, index)


def sample(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """image [H, W, 3] moved by a matrix [2, 3], bilinear, in float64."""
    height, width = image.shape[:2]
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[:height, :width]
    across, down = np.tensordot(back[:2], np.stack([x, y, np.ones_like(x)]), axes=1)
    left, top = np.floor(across).astype(int), np.floor(down).astype(int)
    u, v = (across - left)[..., None], (down - top)[..., None]

    def pick(below: int, right: int) -> np.ndarray:
        return image[mirrored(top + below, height), mirrored(left + right, width)].astype(np.float64)

    return (pick(0, 0) * (1 - u) + pick(0, 1) * u) * (1 - v) + (pick(1, 0) * (1 - u) + pick(1, 1) * u) * v


def translation(image: np.ndarray) -> np.ndarray:
    """A model: the channels change places, and everything becomes a little darker."""
    return np.clip(image[..., ::-1].astype(int) - 3, 0, 255).astype(np.uint8)


def soft_frames(count: int) -> np.ndarray:
    y, x = np.mgrid[:40, :56]
    waves = [np.sin(x / 5 + n) * np.cos(y / 7 - n / 2) for n in range(count)]
    return np.array([np.stack([128 + 90 * wave, 128 - 60 * wave, 100 + x], axis=-1) for wave in waves]).astype(np.uint8)


def test_ten_frames_are_those_of_a_float64_reference():
    recursion = recursion_of(MOVING, RATE, Fraction(1), 1 / RATE)
    frames, last = soft_frames(10), None
    for number, frame in enumerate(frames):
        seen = recursion.mix(frame, number)
        if last is None:
            np.testing.assert_array_equal(seen, frame)
        else:
            # keys 0.3, 0.8, 0.5 at 0, 0.5 and 1: the middle one is a peak, so the curve is at rest at all three
            t = number / 10
            start, end, u = (0.3, 0.8, 2 * t) if t < 0.5 else (0.8, 0.5, 2 * t - 1)
            opacity = start + (end - start) * u * u * (3 - 2 * u)
            v = min(1.0, 2 * t)
            degrees = 2 - 5 * v * v * (3 - 2 * v)
            matrix = motion((40, 56), 1.02 + t * (0.97 - 1.02), degrees, 0.03, (1.5, -0.75))
            truth = (1 - opacity) * frame + opacity * sample(last, matrix)
            assert np.abs(seen - truth).max() <= 0.51
        last = translation(seen)
        recursion.remember(last)


def test_the_motion_is_about_the_centre():
    centre = np.array([27.5, 19.5, 1])
    np.testing.assert_allclose(motion((40, 56), 1.3, 30, 0.2, (0, 0)) @ centre, centre[:2])
    np.testing.assert_allclose(motion((40, 56), 1, 0, 0, (3, -2)), [[1, 0, 3], [0, 1, -2]])
    # a quarter turn counter-clockwise: what is right of the centre comes above it
    np.testing.assert_allclose(motion((40, 56), 2, 90, 0, (0, 0)) @ np.add(centre, [1, 0, 0]), [27.5, 17.5], atol=1e-12)
    np.testing.assert_allclose(motion((40, 56), 1, 0, 0.5, (0, 0)) @ np.add(centre, [0, 2, 0]), [28.5, 21.5])


@pytest.mark.parametrize("stop", range(1, 10))
def test_a_run_that_goes_on_from_a_state_equals_an_unbroken_one(stop):
    def run(recursion, numbers):
        for number in numbers:
            output = translation(recursion.mix(frames[number], number))
            recursion.remember(output)
            yield output

    frames = soft_frames(10)
    unbroken = list(run(recursion_of(MOVING, RATE, Fraction(1), 1 / RATE), range(10)))
    first, second = (recursion_of(MOVING, RATE, Fraction(1), 1 / RATE) for _ in range(2))
    begun = list(run(first, range(stop)))
    restore({"recursion": second}, {f"recursion/{name}": values for name, values in first.state().items()})
    np.testing.assert_array_equal([*begun, *run(second, range(stop, 10))], unbroken)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recursion": "1.5"}, "--recursion at 0 is 1.5: give 0 to 1"),
        ({"recursion": "0.5", "recursion_zoom": "0 1; 3s 9"}, "--recursion-zoom at 3s is 9: give 0.5 to 2"),
        ({"recursion": "0.5", "recursion_shift": "3"}, "--recursion-shift at 0 has 1 numbers: give 2"),
        ({"recursion_rotate": "1"}, "--recursion-rotate has no effect without --recursion"),
    ],
)
def test_wrong_numbers_are_refused(changes, reason):
    with pytest.raises(OptionError, match=reason):
        RecursionOptions(**changes)


def test_a_film_feeds_its_last_output_back(make_clip, watch, tiny_bundle, offset_of, tmp_path):
    grey = np.full((32, 32, 3), 128, np.uint8)
    clip = make_clip("in.mp4", frames=8, images=[grey] * 8, width=32, height=32, rate=RATE, sounds=("aac",))
    options = VideoOptions(domain="dog", seed=3, recursion="0.5", preset="ultrafast", crf=1, batch=4)
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options, progress=lambda line: None)
    assert report.frames == 8
    offset, last = offset_of("dog", 3), np.full(3, 128.0)
    for number, pixel in enumerate(watch(tmp_path / "out.mp4").middle):
        # each output is the mean of grey and the last output, plus the model's offset
        last = np.clip((128 if not number else (128 + last) / 2) + offset, 0, 255)
        assert np.abs(pixel - last).max() <= 4


def test_faces_are_not_fed_back():
    with pytest.raises(OptionError, match="--recursion feeds whole frames back, and --align translates faces"):
        VideoOptions(domain="dog", recursion="0.5", align=True)
