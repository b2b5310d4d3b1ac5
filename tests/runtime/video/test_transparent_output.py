"""Transparency in what is written: --keep-alpha."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from starcast.errors import OptionError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.outputs import open_sink
from starcast.runtime.video.translate import translate_video

COLOUR = (200, 60, 30)
LEVELS = (0, 64, 255)  # of columns of 32


@dataclass(frozen=True, kw_only=True)
class Options(EncodingOptions, InputOptions):
    """What `video` has of both."""

    keep_alpha: bool = True


def write(target: Path, frames: int = 3, **options: Any) -> list[str]:
    """Frames of one colour, whose columns are more opaque from left to right; the last is opaque."""
    alpha = np.tile(np.repeat(np.array(LEVELS, np.uint8), 32), (64, 1))
    with open_sink(target, target.name, (64, 96), Fraction(25), Fraction(1, 25), Options(**options)) as sink:
        for number in range(frames):
            opaque = number == frames - 1
            pixels = np.full((64, 96, 3), COLOUR, np.uint8)
            sink.write(RgbFrame(pixels, number, 1, alpha=None if opaque else alpha))
    return sink.notes


def decoded(path: Path) -> list[np.ndarray]:
    """The frames of a film as RGBA. FFmpeg's own decoder of VP9 leaves transparency out."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        decoder = stream.codec_context
        if decoder.name == "vp9":
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        frames = [frame for packet in film.demux(stream) if packet.size for frame in decoder.decode(packet)]
        frames += decoder.decode(None)
        return [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize(("name", "options"), [
    ("a.webm", {"crf": 2, "preset": "ultrafast"}), ("a.mkv", {"codec": "vp9", "crf": 2, "preset": "ultrafast"}),
    ("a.mov", {"codec": "prores"}), ("a.mkv", {"codec": "prores"}), ("a.mkv", {"codec": "ffv1"}),
    ("b.mkv", {"codec": "ffv1", "pixel_format": "yuv420p"}),
    ("b.mkv", {"codec": "ffv1", "pixel_format": "yuv444p10"}),
], ids=["webm", "vp9-mkv", "prores-mov", "prores-mkv", "ffv1", "ffv1-yuv420p", "ffv1-yuv444p10"])  # fmt: skip
def test_a_film_is_as_transparent_as_its_frames(tmp_path, name, options):
    write(tmp_path / name, **options)
    frames = decoded(tmp_path / name)
    assert len(frames) == 3
    exact = options.get("codec") == "ffv1" and "pixel_format" not in options
    for frame in frames[:2]:
        assert np.abs(frame[32, 16::32, 3].astype(int) - LEVELS).max() <= (0 if exact else 2)
    assert frames[2][..., 3].min() >= (255 if exact else 253)
    assert np.abs(frames[2][32, 16::32, :3].astype(int) - COLOUR).max() <= 8  # by another matrix: test_outputs.py


def test_a_webm_says_that_it_is_transparent(tmp_path):
    """AlphaMode of the Matroska specification, as browsers read it."""
    write(tmp_path / "a.webm", crf=30, preset="ultrafast")
    with av.open(str(tmp_path / "a.webm")) as film:
        metadata = {key.lower(): text for key, text in film.streams.video[0].metadata.items()}
    assert metadata["alpha_mode"] == "1"


@pytest.mark.parametrize(("suffix", "levels"), [
    (".webp", [0, 64, 255]), (".png", [0, 64, 255]), (".gif", [0, 0, 255]),
])  # fmt: skip
def test_an_animation_is_as_transparent_as_its_frames(tmp_path, suffix, levels):
    """A pixel of a GIF is transparent or not."""
    write(tmp_path / f"a{suffix}", crf=0 if suffix == ".webp" else None)
    with Image.open(tmp_path / f"a{suffix}") as film:
        seen = []
        for number in range(film.n_frames):
            film.seek(number)
            seen.append(np.asarray(film.convert("RGBA"))[32, 16::32])
    assert seen[0][:, 3].tolist() == levels
    assert seen[-1][:, 3].tolist() == [255, 255, 255]
    assert seen[0][2, :3].tolist() == list(COLOUR)


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("a.mp4", {}, r"H\.264 in this container cannot be transparent \(--keep-alpha\): end -o in \.webm, \.gif, "),
    ("a.mov", {}, r"H\.264 in this container cannot be transparent \(--keep-alpha\): give --codec prores, or end"),
    ("a.mkv", {"codec": "hevc"}, "HEVC in this container cannot be transparent .*: give --codec vp9, prores or ffv1"),
    ("a.mp4", {"codec": "vp9"}, r"VP9 .* cannot be transparent .*: leave out --codec and end -o in \.webm"),
    ("a.mov", {"codec": "prores", "pixel_format": "yuv422p10"}, r"ProRes cannot be transparent \(--keep-alpha\) as "
                                                                "yuv422p10: give --pixel-format yuv444p10"),
    ("a.webm", {"pixel_format": "yuv444p"}, "VP9 cannot be transparent .* as yuv444p: give --pixel-format yuv420p"),
])  # fmt: skip
def test_what_cannot_be_transparent_is_refused_with_what_can(name, options, sentence):
    with pytest.raises(OptionError, match=sentence):
        complete(Options(**options), Path(name))


@pytest.mark.parametrize(("name", "options"), [
    ("out.webm", {"preset": "ultrafast", "crf": 4}), ("out.mov", {"codec": "prores"}), ("out.png", {}),
])  # fmt: skip
def test_the_transparency_of_a_source_reaches_the_film(tiny_bundle, tmp_path, name, options):
    """From ProRes 4444 to each: the right half is transparent, before and after."""
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, 48:] = 0
    source = tmp_path / "a.mov"
    with open_sink(
        source, "a", (64, 96), Fraction(25), Fraction(1, 25), Options(codec="prores")
    ) as sink:  # fmt: skip
        for number in range(3):
            sink.write(RgbFrame(np.full((64, 96, 3), 90, np.uint8), number, 1, alpha=alpha))
    settings = VideoOptions(domain="dog", keep_alpha=True, fit="stretch", backend="onnxruntime", **options)
    report = translate_video(tiny_bundle, source, tmp_path / name, settings, progress=lambda line: None)
    assert report.frames == 3
    if name.endswith("png"):
        with Image.open(tmp_path / name) as film:
            frames = [np.asarray(film.convert("RGBA"))]
    else:
        frames = decoded(tmp_path / name)
    for frame in frames:
        width = frame.shape[1]
        assert frame[:, : width // 2 - 6, 3].min() >= 250
        assert frame[:, width // 2 + 6 :, 3].max() <= 5
