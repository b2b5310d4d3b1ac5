"""The films that video_kills translates: how each is drawn and translated, and what its translation shows."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from starcast.train.creatures.coats import random_coat
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import walk_frames

RATE = Fraction(25)
_SAMPLES = 48_000
_SIZE = 96, 128

_RECURSION = ("--recursion", "0.4", "--recursion-zoom", "1.02", "--recursion-rotate", "1")


@dataclass(frozen=True)
class Film:
    """How a film is drawn, what its translation is called, and the flags that it is translated with."""

    output: str
    flags: tuple[str, ...] = ()
    verb: str = "video"
    source: str = "film.mp4"
    sound: str | None = "aac"
    is_uneven: bool = False
    is_interlaced: bool = False


FILMS = {
    "plain": Film("out.mp4"),
    "uneven times, encoded sound": Film("out.mp4", source="film.mkv", sound="pcm_s16le", is_uneven=True),
    "uneven times in Matroska": Film("out.mkv", source="film.mkv", sound="flac", is_uneven=True),
    "recursion": Film("out.mp4", _RECURSION),
    "recursion along keys": Film("out.mov", (*_RECURSION, "--seeds", "1,2,3", "--loop")),
    "recursion, uneven times": Film("out.mkv", _RECURSION, source="film.mkv", sound="flac", is_uneven=True),
    "smooth": Film("out.mp4", ("--smooth", "0.7")),
    "smooth recursion": Film("out.mp4", ("--smooth", "0.5", *_RECURSION)),
    "keys of styles": Film("out.mp4", ("--style-keys", "0 seed=1; 40% ref=style.png psi=0.8; 80% seed=3 hold")),
    "morph": Film("out.mp4", ("--seeds", "1,2,3"), verb="morph", source="film.png"),
    "morph, recursion": Film("out.mp4", (*_RECURSION, "--seeds", "1,2,3"), verb="morph", source="film.png"),
    "a loop of styles": Film("out.mp4", ("--seeds", "1,2,3,4", "--loop")),
    "put back": Film("out.mp4", ("--keep-size",)),
    "beside the source": Film("out.mkv", ("--layout", "side-by-side", "--match-colour", "--keep-size")),
    "a part of the frame": Film("out.mp4", ("--roi", "10,10,64,64")),
    "a part of the video": Film("out.mp4", ("--start", "10%", "--end", "90%")),
    "another rate": Film("out.mp4", ("--fps", "29.97")),
    "interlaced": Film("out.mp4", source="film.mkv", sound="flac", is_interlaced=True),
    "lossless": Film("out.mkv", ("--codec", "ffv1")),
    "VP9": Film("out.webm", ("--preset", "ultrafast")),
    "HEVC": Film("out.mp4", ("--codec", "hevc", "--preset", "ultrafast")),
    "an animation": Film("out.webp"),
    "numbered images": Film("out/shot_%05d.png"),
}


def content_of(output: Path) -> str:
    """A hash of all that a film shows and plays: frames with their times, packets of the other streams with theirs."""
    if output.suffix == ".webp":  # PyAV cannot decode it
        return hashlib.sha256(output.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted(output.parent.glob(f"*{output.suffix}")) if "%" in output.name else [output]:
        with av.open(str(path)) as film:
            entries = [(stream.type, str(stream.time_base), str(stream.start_time)) for stream in film.streams]
            digest.update(repr(entries).encode())
            parts: dict[int, Any] = {stream.index: hashlib.sha256() for stream in film.streams}
            for packet in film.demux():
                part = parts[packet.stream.index]
                if packet.stream.type == "video":
                    frames: Any = packet.decode()
                    for frame in frames:
                        part.update(repr(frame.pts).encode() + frame.reformat(format="rgba").to_ndarray().tobytes())
                elif packet.size:
                    part.update(repr((packet.pts, packet.duration)).encode() + bytes(packet))
            for part in parts.values():
                digest.update(part.digest())
    return digest.hexdigest()


def draw_image(target: Path) -> None:
    """A creature."""
    draws = np.random.default_rng(1)
    image = next(iter(walk_frames(random_pose(draws), random_coat(draws, "striped"), 4, side=128)))
    cv2.imwrite(str(target), np.asarray(image)[..., ::-1])


def draw_film(target: Path, film: Film, frames: int) -> Path:
    """A walking creature and a tone; an image, if that is what the target's name says."""
    if target.suffix == ".png":
        draw_image(target)
        return target
    draws = np.random.default_rng(0)
    walk = itertools.islice(walk_frames(random_pose(draws), random_coat(draws, "spotted"), 4, side=128), frames)
    images = [np.asarray(cv2.resize(image, _SIZE[::-1]), np.uint8) for image in walk]
    base = Fraction(1, 1000) if film.is_uneven else 1 / RATE
    with av.open(str(target), "w") as container:
        settings = {"crf": "15", "preset": "ultrafast", **({"x264-params": "tff=1"} if film.is_interlaced else {})}
        video: Any = container.add_stream("libx264", rate=RATE, options=settings)
        video.height, video.width, video.pix_fmt = *_SIZE, "yuv420p"
        video.codec_context.time_base = video.time_base = base
        sound: Any = None if film.sound is None else container.add_stream(film.sound, rate=_SAMPLES)
        if sound is not None:
            sound.layout = "stereo"
        for number in range(frames):
            pts = number * 40 + int(draws.integers(0, 30)) if film.is_uneven else number
            frame: Any = av.VideoFrame.from_ndarray(images[number % len(images)], format="rgb24")
            frame.pts, frame.time_base = pts, base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for packet in _tone(frames / RATE, sound):
                container.mux(packet)
    return target


def _tone(seconds: Fraction, sound: Any) -> Iterator[Any]:
    """Packets of two tones, left and right."""
    samples, size = round(seconds * _SAMPLES), 1024
    time_s = np.arange(samples) / _SAMPLES
    wave = np.stack([np.sin(2 * np.pi * hertz * time_s) for hertz in (220, 331)]).astype(np.float32) / 4
    resampler = av.AudioResampler(format=sound.codec_context.format, layout="stereo", rate=_SAMPLES)
    for begin in range(0, samples - size, size):
        part: NDArray[np.float32] = np.ascontiguousarray(wave[:, begin : begin + size])
        frame: Any = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLES, begin, Fraction(1, _SAMPLES)
        for ready in resampler.resample(frame):
            yield from sound.encode(ready)
    yield from sound.encode(None)
