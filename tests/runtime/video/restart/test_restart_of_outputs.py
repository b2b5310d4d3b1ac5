"""An interrupted film of every codec, container and kind of image shows what an uninterrupted one shows, at the same
times, with the same sound and subtitles."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from film_content import content
from interruptions import SEGMENT
from one_engine import one_engine
from PIL import Image, ImageSequence

from starcast.errors import OptionError, VideoError
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import TABLE, complete
from starcast.runtime.video.output.encode import choose_encoder

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes this film")

FRAMES = 18
CONTAINERS = {
    "h264": (".mp4", ".m4v", ".mov", ".mkv"), "hevc": (".mp4", ".m4v", ".mov", ".mkv"),
    "av1": (".mp4", ".m4v", ".mkv", ".webm"), "vp9": (".webm", ".mp4", ".m4v", ".mkv"),
    "prores": (".mov", ".mkv"), "ffv1": (".mkv",),
}  # fmt: skip
# every codec in its containers, and what its encoder does differently
ROWS = [
    *((codec, suffix, {}) for codec, suffixes in CONTAINERS.items() for suffix in suffixes),
    ("h264", ".mp4", {"pixel_format": "yuv420p10"}), ("h264", ".mkv", {"pixel_format": "yuv444p"}),
    ("h264", ".mp4", {"bitrate": "200k"}), ("hevc", ".mkv", {"pixel_format": "yuv422p10"}),
    ("av1", ".mkv", {"pixel_format": "yuv420p10"}), ("vp9", ".webm", {"bitrate": "200k"}),
    ("vp9", ".webm", {"keep_alpha": True}), ("prores", ".mov", {"keep_alpha": True}),
    ("ffv1", ".mkv", {"keep_alpha": True}),
]  # fmt: skip
ANIMATIONS = [
    ("out.gif", {}), ("out.webp", {}), ("out.webp", {"crf": 0}), ("out.png", {}), ("out.apng", {}), ("%03d.png", {}),
    ("%03d.jpg", {}), ("out.gif", {"keep_alpha": True}), ("out.webp", {"keep_alpha": True}),
    ("out.png", {"keep_alpha": True}), ("%03d.png", {"keep_alpha": True}),
]  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Moving shapes with a tone, two lines of text and chapters; and such shapes that are transparent in part."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "a.srt").write_text("1\n00:00:00,080 --> 00:00:00,240\none\n\n2\n00:00:00,400 --> 00:00:00,640\ntwo\n")
    (folder / "a.txt").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=300\ntitle=first\n")
    shapes = ["-f", "lavfi", "-i", "testsrc2=size=48x48:rate=25"]
    film: list[Any] = [
        *shapes, "-f", "lavfi", "-i", "sine=440:sample_rate=48000", "-i", folder / "a.srt", "-i", folder / "a.txt",
        "-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_metadata", 3, "-frames:v", FRAMES, "-t", FRAMES / 25,
        "-c:v", "ffv1", "-c:a", "aac", "-c:s", "srt", folder / "a.mkv",
    ]  # fmt: skip
    fading = "format=yuva420p,geq=lum=lum(X\\,Y):cb=cb(X\\,Y):cr=cr(X\\,Y):a=255*X/W"
    clear: list[Any] = [*shapes, "-vf", fading, "-frames:v", FRAMES, "-c:v", "ffv1", folder / "clear.mkv"]
    for arguments in (film, clear):
        subprocess.run(["ffmpeg", "-v", "error", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)
    return {False: folder / "a.mkv", True: folder / "clear.mkv"}


@pytest.fixture(scope="module")
def translate(tiny_bundle: Path) -> Iterator[Any]:
    with one_engine(tiny_bundle) as translate:
        yield translate


@pytest.fixture
def compare(sources, translate, tmp_path, interrupted):
    """compare(name, shown, **options): interrupts a film, lets it go on, and compares what `shown` reads of it."""

    def run(name: str, shown: Any, frames: int = SEGMENT + 1, **options: Any) -> None:
        source = sources[options.get("keep_alpha", False)]
        whole, out = tmp_path / "whole" / name, tmp_path / "out" / name
        for target in (whole, out):
            target.parent.mkdir()
        translate(source, whole, **options)
        interrupted(frames, lambda: translate(source, out, **options))
        report = translate(source, out, **options)
        assert (report.frames, report.stored) == (FRAMES, frames // SEGMENT * SEGMENT)
        assert shown(out) == shown(whole)
        assert not list(out.parent.glob(".*"))

    return run


def images(target: Path) -> list[Any]:
    """The pixels of an animation or of numbered images, and how long each is shown."""
    if "%" in target.name:
        return [images(path) for path in sorted(target.parent.glob(f"*{target.suffix}"))]
    with Image.open(target) as film:
        return [(image.info.get("duration"), image.convert("RGBA").tobytes()) for image in ImageSequence.Iterator(film)]


@pytest.mark.parametrize(("codec", "suffix", "changes"), ROWS, ids=list(map(str, ROWS)))
def test_an_interrupted_film_shows_and_plays_what_an_uninterrupted_one_does(compare, codec, suffix, changes):
    try:
        choose_encoder(complete(VideoOptions(codec=codec, **changes), Path(f"out{suffix}")))
    except (VideoError, OptionError) as error:
        pytest.skip(str(error))
    # this preset of x264 gives the same bytes also for frames of fewer than 128 pixels
    fine = {"preset": "superfast"} if TABLE[codec].has_presets else {}
    compare(f"out{suffix}", content, codec=codec, **fine, **changes)


@pytest.mark.parametrize(("name", "changes"), ANIMATIONS, ids=list(map(str, ANIMATIONS)))
def test_interrupted_animations_and_numbered_images_are_those_of_an_uninterrupted_run(compare, name, changes):
    compare(name, images, **changes)


@pytest.mark.parametrize("frames", [2 * SEGMENT, FRAMES])
def test_an_animation_that_was_interrupted_at_the_end_of_a_segment_or_of_the_film_goes_on(compare, frames):
    compare("out.gif", images, frames)


def test_every_container_of_every_codec_has_a_row():
    for codec, known in TABLE.items():
        for suffix in {".mp4", ".m4v", ".mov", ".mkv", ".webm"} - set(CONTAINERS[codec]):
            with pytest.raises(OptionError, match=f"cannot hold {known.title}"):
                complete(VideoOptions(codec=codec), Path(f"out{suffix}"))
