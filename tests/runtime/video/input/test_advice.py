"""Every line for ffmpeg that is printed does what it says when it is pasted, on the film that it is printed for."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import av
import pytest

from starcast.errors import VideoError
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source
from starcast.runtime.video.pipeline import notes_on

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
TONES = ("-f", "lavfi", "-i", "sine=440:r=48000:d=1", "-f", "lavfi", "-i", "sine=880:r=48000:d=1")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s={size}:r={rate}:d=1")


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def make(path: Path, *coding: str, size: str = "128x96", rate: str = "25", sounds: int = 2) -> Path:
    picture = [part.format(size=size, rate=rate) for part in PICTURE]
    maps = [word for number in range(sounds + 1) for word in ("-map", str(number))]
    ffmpeg(*picture, *TONES[: 4 * sounds], *maps, *coding, str(path))
    return path


def paste(sentence: str, folder: Path, source: Path) -> Path:
    """Run the line in a sentence, with the film for IN, in the folder where OUT.mkv goes."""
    (line,) = re.findall(r"`(ffmpeg [^`]*)`", sentence)
    words = [str(source) if word == "IN" else word for word in shlex.split(line)]
    subprocess.run([*words, "-v", "error", "-y"], check=True, cwd=folder, stdin=subprocess.DEVNULL)
    return folder / "OUT.mkv"


def facts(path: Path) -> tuple[int, int]:
    """Frames and sounds."""
    with Source(path) as source:
        frames = sum(isinstance(item, Frame) for item in source.read())
        return frames, sum(stream.type == "audio" for stream in source.others)


def advice_about(path: Path) -> str:
    """What is said of a film, whether it is refused or only not at its best."""
    try:
        with Source(path, reading=InputOptions(hdr="refuse")) as source:
            return next(note for note in notes_on(source) if "`ffmpeg" in note)
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize("tags", [
    "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc", "transfer=smpte2084:colorprim=bt2020:colormatrix=ictcp",
    "transfer=arib-std-b67:colorprim=bt2020:colormatrix=bt2020nc", "transfer=arib-std-b67:colorprim=bt2020",
    "transfer=smpte2084",
])  # fmt: skip
def test_the_line_for_hdr_keeps_every_sound(tmp_path, tags):
    film = make(tmp_path / "a.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-x264-params", tags,
                "-c:a:0", "aac", "-c:a:1", "ac3")  # fmt: skip
    advice = advice_about(film)
    assert "HDR" in advice
    out = paste(advice, tmp_path, film)
    assert facts(out) == (25, 2)
    with av.open(str(out)) as container:
        assert [one.codec_context.name for one in container.streams.audio] == ["aac", "ac3"]  # as they were


@pytest.mark.parametrize(("matrix", "name"), [
    ("colormatrix=YCgCo", "YCgCo"), ("colormatrix=bt2020c", "constant luminance"),
    ("colormatrix=bt2020c:transfer=bt2020-10:colorprim=bt2020", "constant luminance"),
])  # fmt: skip
def test_the_line_for_a_matrix_that_cannot_be_read_makes_one_that_can(tmp_path, matrix, name):
    film = make(tmp_path / "a.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", matrix, "-c:a", "aac")
    advice = advice_about(film)
    assert name in advice
    assert facts(paste(advice, tmp_path, film)) == (25, 2)
