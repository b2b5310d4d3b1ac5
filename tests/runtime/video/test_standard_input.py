from __future__ import annotations

import io
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from starcast.errors import OptionError, VideoError
from starcast.runtime.video import standard_input
from starcast.runtime.video.input import standard_input_file
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.standard_input import translate_standard_input

OPTIONS = VideoOptions(domain="dog", seed=3, preset="ultrafast")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.RawIOBase | bytes], None]:
    """Make something standard input."""
    monkeypatch.setattr(standard_input, "is_terminal", lambda _: False)

    def use(content: io.RawIOBase | bytes) -> None:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream})())

    return use


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_a_video_from_a_pipe_keeps_its_frames_times_and_sound(make_clip, tiny_bundle, tmp_path, pipe, name):
    out = tmp_path / "out"
    out.mkdir()
    pipe(make_clip(name, frames=4, sounds=("aac",)).read_bytes())
    lines: list[str] = []
    report = translate_standard_input(tiny_bundle, out / "film.mp4", OPTIONS, progress=lines.append)
    assert (report.frames, report.failed) == (4, [])
    assert not any(str(tmp_path / "out" / ".") in line and "starcast-standard-input" in line for line in lines)
    assert sorted(path.name for path in out.iterdir()) == ["film.mp4", "film.mp4.json"]
    assert json.loads((out / "film.mp4.json").read_text())["runs"][-1]["sources"] == ["-"]
    with open_film(out / "film.mp4") as film:
        times = [item.pts * film.time_base for item in film.read() if isinstance(item, Frame)]
        assert [time - times[0] for time in times] == [Fraction(number, 25) for number in range(4)]
        assert [stream.type for stream in film.others] == ["audio"]


@pytest.mark.parametrize(("content", "words"), [
    (b"", "standard input is empty"), (b"a line of text\n" * 50, "standard input is a text file, not a video"),
])  # fmt: skip
def test_what_is_no_video_is_refused_and_leaves_nothing(tiny_bundle, tmp_path, pipe, content, words):
    pipe(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VideoError, match=words):
        translate_standard_input(tiny_bundle, tmp_path / "film.mp4", OPTIONS, progress=lambda _: None)
    assert sorted(tmp_path.iterdir()) == before


class Endless(io.RawIOBase):
    """A pipe that never ends; Ctrl-C is pressed at the tenth piece, if `is_broken_off`."""

    def __init__(self, is_broken_off: bool) -> None:
        self.pieces = 0
        self._is_broken_off = is_broken_off

    def read(self, size: int = -1) -> bytes:
        self.pieces += 1
        if self._is_broken_off and self.pieces == 10:
            raise KeyboardInterrupt
        return bytes(1000)


def test_a_pipe_that_never_ends_stops_before_the_disk_is_full(tiny_bundle, tmp_path, pipe, monkeypatch):
    endless = Endless(is_broken_off=False)
    pipe(endless)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(
        2**40, 0, standard_input_file.LEFT_FREE + 20_000 - 1000 * endless.pieces
    ))  # fmt: skip
    with pytest.raises(VideoError, match="standard input does not fit on the disk"):
        translate_standard_input(tiny_bundle, tmp_path / "film.mp4", OPTIONS, progress=lambda _: None)
    assert [*tmp_path.iterdir()] == []
    assert endless.pieces < 25


def test_ctrl_c_while_it_is_read_leaves_nothing(tiny_bundle, tmp_path, pipe):
    pipe(Endless(is_broken_off=True))
    with pytest.raises(KeyboardInterrupt):
        translate_standard_input(tiny_bundle, tmp_path / "film.mp4", OPTIONS, progress=lambda _: None)
    assert [*tmp_path.iterdir()] == []


def test_a_terminal_is_refused(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(standard_input, "is_terminal", lambda _: True)
    with pytest.raises(OptionError, match="standard input is a terminal"):
        translate_standard_input(tiny_bundle, tmp_path / "film.mp4", OPTIONS)


def test_a_wrong_output_is_refused_before_anything_is_read(tiny_bundle, tmp_path: Path, pipe):
    endless = Endless(is_broken_off=False)
    pipe(endless)
    with pytest.raises(OptionError):
        translate_standard_input(tiny_bundle, tmp_path / "film.txt", OPTIONS)
    assert endless.pieces == 0
