"""Clips made by arithmetic, so that what comes out can be worked out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

LEVELS = 16  # grey levels between two frames, far more than an encoder's error
SOUND_RATE = 48000
COLOUR_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A short film. Frame number n is grey level 32 + LEVELS * (n % 8) unless `images` are given.

    `pts` in ticks of `time_base`, which is 1 / rate where it is None.
    """

    frames: int = 12
    height: int = 48
    width: int = 64
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = (("preset", "ultrafast"), ("crf", "1"))
    images: Sequence[NDArray[np.uint8]] | None = None
    planes: Sequence[NDArray[Any]] | None = None  # of every frame, in `pix_fmt`, in place of images
    colours: tuple[tuple[str, int], ...] = ()  # colorspace, color_range, color_trc, color_primaries of the encoder
    sample_aspect: Fraction | None = None
    rotation: float = 0.0  # counter-clockwise
    mirrored: bool = False
    sounds: tuple[str, ...] = ()
    sound_s: float | None = None  # as long as the frames where it is None
    sound_start_s: Fraction = Fraction(0)
    metadata: tuple[tuple[str, str], ...] = ()
    chapters: tuple[tuple[int, int, str], ...] = ()  # start and end in milliseconds, title

    @property
    def ticks(self) -> Fraction:
        """The time base."""
        return self.time_base or 1 / self.rate

    @property
    def times(self) -> list[int]:
        """When each frame is shown, in ticks."""
        step = 1 / self.rate / self.ticks
        return list(self.pts) if self.pts is not None else [round(number * step) for number in range(self.frames)]


def level(number: int) -> int:
    """The grey level of frame `number`."""
    return 32 + LEVELS * (number % 8)


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """make_clip("a.mp4", frames=5, …): the path of a film as `Clip` describes it."""

    def make(name: str, **changes: Any) -> Path:
        path = tmp_path / name
        write_clip(path, Clip(**changes))
        return path

    return make


def write_clip(path: Path, clip: Clip) -> None:
    if (clip.rotation or clip.mirrored) and not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a display matrix")
    if clip.chapters and not hasattr(av.container.OutputContainer, "set_chapters"):
        pytest.skip("this PyAV cannot write chapters")
    with av.open(str(path), "w") as container:
        container.metadata.update(dict(clip.metadata))
        video: Any = container.add_stream(clip.codec, rate=clip.rate, options=dict(clip.options))
        video.height, video.width, video.pix_fmt = clip.height, clip.width, clip.pix_fmt
        video.codec_context.time_base = video.time_base = clip.ticks
        for tag, value in clip.colours:
            setattr(video.codec_context, tag, value)
        if clip.sample_aspect is not None:
            video.codec_context.sample_aspect_ratio = clip.sample_aspect
        if clip.rotation or clip.mirrored:
            video.set_display_rotation(clip.rotation, hflip=clip.mirrored)
        if clip.chapters:
            container.set_chapters([
                {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(clip.chapters)
            ])  # fmt: skip
        sounds = [container.add_stream(codec, rate=SOUND_RATE, layout="mono") for codec in clip.sounds]
        for number, pts in enumerate(clip.times):
            frame = _frame(clip, number)
            frame.pts, frame.time_base = pts, clip.ticks
            container.mux(video.encode(frame))
        seconds = clip.frames / clip.rate if clip.sound_s is None else Fraction(clip.sound_s)
        for stream in sounds:
            _write_sound(container, stream, round(seconds * SOUND_RATE), round(clip.sound_start_s * SOUND_RATE))
        container.mux(video.encode(None))
        for stream in sounds:
            container.mux(stream.encode(None))


def _frame(clip: Clip, number: int) -> av.VideoFrame:
    if clip.planes is not None:
        frame = av.VideoFrame(clip.width, clip.height, clip.pix_fmt)
        for plane, values in zip(frame.planes, clip.planes, strict=True):
            padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
            padded[:, : values.shape[1]] = values
            plane.update(padded.tobytes())
        return frame
    if clip.images is not None:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(clip.images[number]), format="rgb24")
    grey = np.full((clip.height, clip.width, 3), level(number), np.uint8)
    return av.VideoFrame.from_ndarray(grey, format="rgb24")


def _write_sound(container: Any, stream: Any, samples: int, start: int) -> None:
    """A tone of 440 Hz."""
    for begin in range(0, samples, 1024):
        when = np.arange(begin, min(begin + 1024, samples)) / SOUND_RATE
        wave = (8000 * np.sin(2 * np.pi * 440 * when)).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SOUND_RATE, start + begin, Fraction(1, SOUND_RATE)
        container.mux(stream.encode(sound))


@dataclass(frozen=True)
class Film:
    """What a player would show: times in seconds, exactly; grey levels in the middle of each frame."""

    times: list[Fraction]
    levels: list[int]
    middle: list[NDArray[np.uint8]]
    duration_s: Fraction
    streams: list[tuple[str, str]]  # type and codec
    samples: list[int]  # of each sound
    sound_starts: list[Fraction]
    video: dict[str, Any]


@pytest.fixture
def watch() -> Callable[[Path], Film]:
    """Read a film back with PyAV alone."""
    return _watched


def _watched(path: Path) -> Film:
    times, middle, samples, starts = [], [], [], []
    with av.open(str(path)) as container:
        streams = [(stream.type, stream.codec_context.name) for stream in container.streams if stream.codec_context]
        duration = Fraction(container.duration or 0, av.time_base)
        facts: dict[str, Any] = {}
        for frame in container.decode(video=0):
            times.append(frame.pts * Fraction(frame.time_base))
            middle.append(frame.to_ndarray(format="rgb24")[frame.height // 2, frame.width // 2])
            facts = {name: getattr(frame, name) for name in ("height", "width", "rotation")}
        context = container.streams.video[0].codec_context
        facts |= {name: getattr(context, name) for name in COLOUR_TAGS}
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    for number in range(count):
        with av.open(str(path)) as container:
            frames = list(container.decode(audio=number))
            samples.append(sum(frame.samples for frame in frames))
            starts.append(frames[0].pts * Fraction(frames[0].time_base))
    levels = [int(pixel.mean().round()) for pixel in middle]
    return Film(times, levels, middle, duration, streams, samples, starts, facts)


@dataclass(frozen=True)
class Passage:
    """What became of a source that went through the pipeline with the translation left out."""

    target: Path
    frames: int
    notes: list[str]
    damaged: int
    ends_early: bool
    start_s: Fraction


@pytest.fixture
def passed_through() -> Callable[..., Passage]:
    """Source and Sink alone, at the source's size: passed_through(path, target)."""
    from starcast.images.fit import fit
    from starcast.runtime.encoding import EncodingOptions
    from starcast.runtime.video import colour
    from starcast.runtime.video.frames import RgbFrame
    from starcast.runtime.video.input.film import Frame
    from starcast.runtime.video.input.orientation import make_pixels_square, turn_upright
    from starcast.runtime.video.input.source import open_film
    from starcast.runtime.video.output.sink import Sink

    fast = EncodingOptions(crf=1, preset="ultrafast")

    def run(path: Path, target: Path, **settings: Any) -> Passage:
        frames = 0
        with open_film(path) as source:
            size = source.shown_size
            with Sink(
                target, target.name, size, source.rate, source.time_base, fast, source=source, **settings
            ) as sink:
                for item in source.read(sink.tracks.audio_to_decode):
                    if isinstance(item, Frame):
                        pixels = make_pixels_square(colour.to_rgb(item.frame), item.square_size)
                        pixels = fit(turn_upright(pixels, item.orientation), size)
                        sink.write(RgbFrame(pixels, item.pts, item.duration))
                        frames += 1
                    else:
                        sink.write(item)
            return Passage(target, frames, sink.notes, source.damaged, source.ends_early, source.start_s)

    return run


@pytest.fixture
def offset_of(tiny_bundle: Path, tiny_model: Any) -> Callable[[str, int], NDArray[np.float64]]:
    """offset_of(domain, seed): what the tiny model adds to every pixel, RGB."""
    domains = ("cat", "dog", "wild")

    def offset(domain: str, seed: int) -> NDArray[np.float64]:
        latent = np.random.RandomState(seed).standard_normal(4).astype(np.float32)
        style = tiny_model.latent_style(latent, domains.index(domain))
        grey = np.full((1, 1, 1, 3), 128, np.uint8)
        return tiny_model.translation(grey, style).astype(np.float64)[0, 0, 0] - 128

    return offset
