from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from starcast.train.creatures.dataset import creature_of
from starcast.train.creatures.video import SAMPLE_RATE, walk_frames, walk_sound, write_walk

BT709, LIMITED = 1, 1


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    target = tmp_path_factory.mktemp("walk") / "creature.mp4"
    write_walk(target, *creature_of(0, "striped", "video", 0), 1)
    return target


def test_the_video_is_tagged_and_as_long_as_asked(walk):
    with av.open(str(walk)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height, video.average_rate) == (256, 256, 25)
        context = video.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (BT709, BT709, BT709)
        assert context.color_range == LIMITED
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", 44_100, "stereo")
        assert sum(1 for _ in container.decode(video)) == 25


def test_decoded_frames_are_the_drawn_ones(walk):
    drawn = list(walk_frames(*creature_of(0, "striped", "video", 0), 1))
    with av.open(str(walk)) as container:
        decoded = [
            frame.reformat(
                format="rgb24", src_colorspace=Colorspace.ITU709, src_color_range=ColorRange.MPEG
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    assert len(decoded) == len(drawn)
    for got, wanted in zip(decoded, drawn, strict=True):
        assert np.abs(got.astype(int) - wanted)[:4].max() <= 2  # the backdrop: matrix and range are right
        assert np.abs(got.astype(int) - wanted).mean() < 4


def test_the_sound_is_heard_on_both_sides(walk):
    sound = walk_sound(1)
    assert sound.shape == (2, SAMPLE_RATE)
    assert np.abs(sound).max() <= 1
    with av.open(str(walk)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert (np.sqrt((heard**2).mean(axis=1)) > 0.01).all()
    assert heard.shape[1] == pytest.approx(SAMPLE_RATE, abs=2 * 1024)  # whole AAC frames


def test_neighbouring_frames_differ_a_little_and_the_creature_moves():
    frames = list(walk_frames(*creature_of(0, "striped", "video", 0), 1, side=64))
    steps = [np.abs(after.astype(int) - before).mean() for before, after in itertools.pairwise(frames)]
    assert min(steps) > 0
    assert max(steps) < 25
