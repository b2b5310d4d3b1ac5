"""Every container and codec crossed with every kind of sound, subtitles, cover and chapters of a source: what a player
shows and plays, and when. Each pair of a container and a sound or subtitles is in one row."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition
from beacons import beacons, write_beacon
from one_engine import one_engine
from subtitle_lines import subtitles

from starcast.errors import OptionError, VideoError
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import TABLE, complete
from starcast.runtime.video.output.encode import choose_encoder

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes these films")

CODECS = {
    ".mp4": ("h264", "hevc", "av1", "vp9"), ".m4v": ("h264",), ".mov": ("h264", "prores", "hevc"),
    ".mkv": ("h264", "ffv1", "prores", "av1", "vp9", "hevc"), ".webm": ("vp9", "av1"),
}  # fmt: skip
SOUNDS = ("aac", "mp3", "ac3", "opus", "vorbis", "flac", "pcm_s16le", "alac")
TEXTS = (None, "subrip", "ass", "mov_text", "webvtt")
# what a container takes as it is: by ISO's and Apple's registries, and the lists of Matroska and WebM
COPIED = {
    ".mp4": ("aac", "mp3", "ac3", "opus", "flac", "alac"), ".m4v": ("aac", "mp3", "ac3", "opus", "flac", "alac"),
    ".mov": ("aac", "mp3", "ac3", "pcm_s16le", "alac"), ".mkv": SOUNDS, ".webm": ("opus", "vorbis"),
}  # fmt: skip
READ_AS_IS = {".mp4": ("mov_text",), ".m4v": ("mov_text",), ".mov": ("mov_text",),
              ".mkv": ("subrip", "ass", "webvtt"), ".webm": ("webvtt",)}  # fmt: skip
MADE = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
SPOKEN = [(0.12, 0.2, "Hello"), (0.48, 0.4, "and\nbye, all")]
SRT = "1\n00:00:00,120 --> 00:00:00,320\nHello\n\n2\n00:00:00,480 --> 00:00:00,880\nand\nbye, all\n"
CHAPTERS = [(0, 480, "before"), (480, 1000, "after")]  # milliseconds
FLASH_S, FRAMES = 0.48, 25


class Row(NamedTuple):
    """A film to translate, and what it becomes."""

    suffix: str
    codec: str
    sound: str
    texts: str | None
    has_cover: bool
    has_chapters: bool

    @property
    def source_suffix(self) -> str:
        if self.texts != "mov_text":
            return ".mkv"
        return ".mov" if self.sound == "pcm_s16le" else ".mp4"


def rows() -> Iterator[Row]:
    for i, (suffix, codecs) in enumerate(CODECS.items()):
        for j, sound in enumerate(SOUNDS[:2] if suffix == ".m4v" else SOUNDS):  # .m4v is another name for .mp4
            texts = TEXTS[(i + j) % len(TEXTS)]
            row = Row(suffix, codecs[j % len(codecs)], sound, texts, (i + j // 2) % 2 == 0, (i // 2 + j) % 2 == 0)
            yield row._replace(has_cover=row.has_cover and row.source_suffix != ".mov")


ROWS = list(rows())


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the sources are put together from."""
    folder = tmp_path_factory.mktemp("pieces")
    write_beacon(folder / "beacon.mkv", 1, 1, codecs=("libx264", "pcm_s16le"), preset="ultrafast")
    (folder / "s.srt").write_text(SRT)
    times = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={b}\ntitle={title}\n" for a, b, title in CHAPTERS)
    (folder / "chapters.txt").write_text(f";FFMETADATA1\n{times}")
    with av.open(str(folder / "c.png"), "w", format="image2", options={"update": "1"}) as image:
        stream: Any = image.add_stream("png")
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        image.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8), format="rgb24")))
    return folder


def assemble(pieces: Path, row: Row, source: Path) -> None:
    inputs: list[object] = ["-i", pieces / "beacon.mkv"]
    maps: list[object] = ["-map", "0:v", "-map", "0:a"]
    if row.texts is not None:
        inputs += ["-i", pieces / "s.srt"]
        maps += ["-map", "1:s", "-c:s", row.texts, "-metadata:s:s:0", "language=deu"]
    if row.has_chapters:
        inputs += ["-i", pieces / "chapters.txt"]
        maps += ["-map_metadata", inputs.count("-i") - 1]
    if row.has_cover and source.suffix == ".mkv":
        maps += ["-attach", pieces / "c.png", "-metadata:s:t", "mimetype=image/png", "-metadata:s:t",
                 "filename=cover.png"]  # fmt: skip
    elif row.has_cover:
        inputs += ["-i", pieces / "c.png"]
        maps += ["-map", inputs.count("-i") - 1, "-disposition:v:1", "attached_pic"]
    sound = {"opus": "libopus", "vorbis": "libvorbis", "mp3": "libmp3lame"}.get(row.sound, row.sound)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *map(str, [*inputs, *maps, "-c:v", "copy", "-c:a", sound, "-strict", "-2"]),
         source], check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def translate(tiny_bundle: Path) -> Iterator[Any]:
    with one_engine(tiny_bundle) as translate:
        yield translate


@pytest.mark.parametrize("row", ROWS, ids=["-".join(map(str, row)) for row in ROWS])
def test_what_a_film_has_beside_its_frames_comes_out_at_its_time(pieces, translate, tmp_path, row):
    try:
        choose_encoder(complete(VideoOptions(codec=row.codec), tmp_path / f"out{row.suffix}"))
    except (VideoError, OptionError) as error:
        pytest.skip(str(error))
    source, target = tmp_path / f"a{row.source_suffix}", tmp_path / f"out{row.suffix}"
    assemble(pieces, row, source)
    fine = {} if TABLE[row.codec].crf is None else {"preset": "ultrafast"}
    report = translate(source, target, codec=row.codec, **fine)
    assert (report.frames, report.failed) == (FRAMES, [])

    with av.open(str(target)) as film:
        (sound,) = film.streams.audio
        again = {".webm": "opus", ".mov": "pcm_s24le" if row.codec == "prores" else "aac"}.get(row.suffix, "aac")
        wanted = row.sound if row.sound in COPIED[row.suffix] else again
        assert sound.codec_context.name in (wanted, f"lib{wanted}", f"{wanted}float")
        assert any("encoded again" in note for note in report.notes) == (wanted != row.sound)

        times = sorted(
            packet.pts * packet.time_base for packet in film.demux(film.streams.best("video")) if packet.size
        )
        begin = float(times[0])  # Matroska has no times below 0: sound that begins before the frames moves both
        assert np.abs(np.subtract(list(map(float, times)), begin + np.arange(FRAMES) / 25)).max() <= 0.001

        tick = Fraction(1, 1000)
        chapters = [
            (round(one["start"] * one["time_base"] / tick), round(one["end"] * one["time_base"] / tick),
             one["metadata"].get("title")) for one in film.chapters()
        ]  # fmt: skip
        assert chapters == (CHAPTERS if row.has_chapters else [])

        covers = [one for one in film.streams.video if one.disposition & Disposition.attached_pic]
        takes_cover = row.suffix not in (".mov", ".webm")
        assert len(covers) == int(row.has_cover and takes_cover)
        assert any("cover" in note for note in report.notes) == (row.has_cover and not takes_cover)
        assert len(film.streams.subtitles) == int(row.texts is not None)

    (flash,), (click,) = beacons(target)
    assert flash == pytest.approx(begin + FLASH_S, abs=0.001)
    # FFmpeg stores Opus in Matroska 6.5 ms early: what the source has, stays
    (first,), (then,) = beacons(source)
    assert abs(then - first) < 0.007
    assert click - flash == pytest.approx(then - first, abs=0.001 if wanted == row.sound else 0.005)

    if row.texts is not None:
        stored, lines = subtitles(target)
        kept = row.texts if row.texts in READ_AS_IS[row.suffix] else MADE[row.suffix]
        assert {"ssa": "ass", "srt": "subrip"}.get(stored, stored) == kept
        assert [line[2] for line in lines] == [line[2] for line in SPOKEN]
        assert (
            np.abs(np.array([line[:2] for line in lines]) - [(begin + at, lasts) for at, lasts, _ in SPOKEN]).max()
            <= 0.011
        )
