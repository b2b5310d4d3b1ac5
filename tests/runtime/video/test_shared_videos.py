"""Real clips, where they are at hand: same frames, same times, same sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starcast.images.fit import fit
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

VIDEOS = Path(__file__).parents[4] / "shared/videos"
FACTS = {  # frames, samples a channel, seconds: counted by decoding, from the clips' own README
    "face-30fps-aac.mp4": (282, 415680, 9.400),
    "cockatoo-20fps-mp3.mp4": (280, 222383, 14.000),
    "portrait-2997-mp3.mp4": (297, 436655, 9.910),
    "chaplin-25fps-mp3.mp4": (241, 423983, 9.640),
    "phone-rotated-180-vfr.mp4": (25, 108544, 2.380),
}

pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason="the clips are beside the repository, not in it")


@pytest.mark.parametrize("name", FACTS)
def test_frames_times_and_sound_stay(watch, tiny_bundle, tmp_path, name):
    frames, samples, seconds = FACTS[name]
    settings = VideoOptions(domain="cat", preset="ultrafast")
    report = translate_video(tiny_bundle, VIDEOS / name, tmp_path / "out.mp4", settings, progress=lambda line: None)
    before, after = watch(VIDEOS / name), watch(tmp_path / "out.mp4")
    assert report.failed == []
    assert report.frames == len(after.times) == frames
    assert after.times == before.times
    assert after.samples == [samples]
    with av.open(str(tmp_path / "out.mp4")) as container:
        video = container.streams.video[0]
        assert abs(video.duration * video.time_base - Fraction(seconds)) <= seconds / frames


def test_the_phone_clip_is_the_right_way_up(tiny_bundle, offset_of, tmp_path):
    clip = VIDEOS / "phone-rotated-180-vfr.mp4"
    translate_video(
        tiny_bundle,
        clip,
        tmp_path / "out.mp4",
        VideoOptions(domain="cat", preset="ultrafast"),
        progress=lambda line: None,
    )
    with av.open(str(clip)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        shown, rotation = frame.to_ndarray(format="rgb24").astype(float), frame.rotation
    turned = np.clip(fit(stored[::-1, ::-1], (32, 32), "crop") + offset_of("cat", 0), 0, 255)
    assert rotation == 0
    assert np.abs(shown - turned).mean() < 6
    assert np.abs(shown[::-1, ::-1] - turned).mean() > 12
