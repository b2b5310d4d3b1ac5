"""A walking creature as an H.264 video, with a short tune and a tap at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from starcast.train.creatures.anatomy import Pose
from starcast.train.creatures.coats import Coat
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.poses import STRIDES, walk

SIDE = 256  # pixels
FRAME_RATE = 25
SAMPLE_RATE = 44_100
TUNE = (0, 4, 7, 9, 7, 4, 2, 4)  # semitones above the root, two notes a stride: a pentatonic walk
ROOT = 392.0  # hertz


def walk_frames(pose: Pose, coat: Coat, seconds: int, side: int = SIDE) -> Iterator[NDArray[np.uint8]]:
    """Every frame of the walk, (side, side, 3) in RGB."""
    for frame in range(seconds * FRAME_RATE):
        yield draw_creature(walk(pose, frame / FRAME_RATE), coat, side)[0]


def walk_sound(seconds: int) -> NDArray[np.float32]:
    """The tune in the middle, the steps left and right: (2, samples) in -1..1 at SAMPLE_RATE."""
    samples = seconds * SAMPLE_RATE
    time = np.arange(samples) / SAMPLE_RATE
    beats = seconds * STRIDES * 2
    sound = np.zeros((2, samples))
    for beat in range(beats):
        since = time - beat / (2 * STRIDES)
        hertz = ROOT * 2 ** (TUNE[beat % len(TUNE)] / 12)
        note = np.sin(math.tau * hertz * since) + 0.3 * np.sin(math.tau * 2 * hertz * since)
        step = np.sin(math.tau * 110 * since) * np.exp(-np.maximum(since, 0) * 60)
        sound += np.where(since >= 0, 0.16 * note * np.exp(-np.maximum(since, 0) * 7), 0)
        sound[beat % 2] += np.where(since >= 0, 0.3 * step, 0)
    return np.clip(sound, -1, 1).astype(np.float32)


def write_walk(target: Path, pose: Pose, coat: Coat, seconds: int) -> None:
    """Write the walk as MP4: H.264 in yuv420p, tagged BT.709 and limited range, and AAC in stereo."""
    with av.open(str(target), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "18", "preset": "medium"})
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        video.thread_count = 1  # x264's decisions depend on the number of threads
        context = video.codec_context
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for image in walk_frames(pose, coat, seconds):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(walk_sound(seconds), format="fltp", layout="stereo")
        sound.sample_rate = SAMPLE_RATE
        sound.time_base = Fraction(1, SAMPLE_RATE)
        sound.pts = 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
