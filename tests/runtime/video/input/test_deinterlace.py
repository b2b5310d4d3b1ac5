"""An edge that moves from field to field: after deinterlacing, each frame shows it where its first field has it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph
from numpy.typing import NDArray

from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source

HEIGHT, WIDTH, FRAMES = 48, 96, 10
STEP = 3  # columns from field to field
LOSSLESS = {"preset": "ultrafast", "qp": "0"}


def edge(field: int) -> int:
    return 8 + STEP * field


def fields(*, top_first: bool, frames: int = FRAMES) -> list[NDArray[np.uint8]]:
    """White up to the edge, black behind it."""
    images = []
    for number in range(frames):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        first, second = (0, 1) if top_first else (1, 0)
        image[first::2, : edge(2 * number)] = 255
        image[second::2, : edge(2 * number + 1)] = 255
        images.append(image)
    return images


@pytest.fixture
def make_film(tmp_path: Path) -> Callable[..., Path]:
    """A film of `fields`. Its frames pass FFmpeg's filter that flags them, because PyAV cannot."""

    def make(name: str = "fields.mkv", order: str = "tff", colours: tuple[tuple[str, int], ...] = ()) -> Path:
        graph = Graph()
        source = graph.add_buffer(width=WIDTH, height=HEIGHT, format="yuv420p", time_base=Fraction(1, 25))
        graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
        with av.open(str(tmp_path / name), "w") as container:
            options = {**LOSSLESS, "x264-params": "interlaced=1"}
            video = container.add_stream("libx264", rate=25, options=options)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for tag, value in colours:
                setattr(video.codec_context, tag, value)
            for number, image in enumerate(fields(top_first=order == "tff")):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                graph.push(frame)
                flagged = graph.pull()
                flagged.pict_type = 0
                container.mux(video.encode(flagged))
            container.mux(video.encode(None))
        return tmp_path / name

    return make


def read(film: Path, deinterlace: str = "auto") -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]], list[str]]:
    """Luma, (time, duration) of each frame, and what the film says of itself."""
    with Source(film, reading=InputOptions(deinterlace=deinterlace)) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
        lumas = [np.asarray(frame.frame.to_ndarray(format="gray")) for frame in frames]
        return lumas, [(frame.pts, frame.duration) for frame in frames], [*source.changes]


def combing(luma: NDArray[np.uint8]) -> float:
    """How far lines are from the mean of their neighbours."""
    lines = luma.astype(float)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_each_frame_shows_its_first_field_and_no_combs(make_film, order, suffix):
    film = make_film(f"fields.{suffix}", order)
    woven, times, (left,) = read(film, "off")
    assert "is interlaced, and is not deinterlaced" in left
    straight, same_times, (done,) = read(film)
    assert "is deinterlaced" in done
    assert len(straight) == FRAMES
    assert same_times == times
    for number, luma in enumerate(straight):
        edges = (luma > 128).sum(axis=1)
        assert np.abs(edges - edge(2 * number)).max() <= 1, number
        assert combing(luma) < combing(woven[number]) / 4


def test_a_progressive_film_comes_through_to_the_bit(make_clip):
    film = make_clip("plain.mp4", frames=FRAMES, height=HEIGHT, width=WIDTH, images=fields(top_first=True),
                     options=tuple(LOSSLESS.items()))  # fmt: skip
    (left, left_times, _), (auto, times, changes) = read(film, "off"), read(film)
    np.testing.assert_array_equal(auto, left)
    assert times == left_times
    assert not changes


def test_a_film_that_becomes_interlaced_midway_keeps_every_frame(make_film, make_clip, tmp_path):
    plain = make_clip("plain.ts", frames=4, height=HEIGHT, width=WIDTH, options=tuple(LOSSLESS.items()))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(plain.read_bytes() + make_film("fields.ts").read_bytes() + plain.read_bytes())
    (woven, times, _), (straight, same_times, changes) = read(joined, "off"), read(joined)
    assert len(straight) == 4 + FRAMES + 4
    assert same_times == times
    assert [change for change in changes if "is deinterlaced" in change]
    for number in (0, 3, 4 + FRAMES, 4 + FRAMES + 3):
        np.testing.assert_array_equal(straight[number], woven[number])
    for number in range(4, 4 + FRAMES):
        assert combing(straight[number]) < combing(woven[number]) / 4


def test_a_film_whose_frames_change_size_keeps_every_frame(make_film, make_clip, tmp_path):
    small = make_clip(
        "small.ts", frames=4, height=32, width=64, options=(*LOSSLESS.items(), ("x264-params", "interlaced=1")),
    )  # fmt: skip
    joined = tmp_path / "joined.ts"
    joined.write_bytes(make_film("fields.ts").read_bytes() + small.read_bytes())
    straight, times, _ = read(joined)
    assert [luma.shape for luma in straight] == [(HEIGHT, WIDTH)] * FRAMES + [(32, 64)] * 4
    assert times == read(joined, "off")[1]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
@pytest.mark.parametrize(("name", "coding", "size", "rate"), [
    ("dv.avi", ("-c:v", "dvvideo", "-pix_fmt", "yuv420p", "-target", "pal-dv"), "720x576", "25"),
    ("dv.mov", ("-c:v", "dvvideo", "-pix_fmt", "yuv411p"), "720x480", "30000/1001"),
    ("dvd.vob", ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", "1"), "720x576", "25"),
    ("pro.mov", ("-c:v", "prores_ks", "-flags", "+ildct", "-top", "1"), "96x64", "25"),
])  # fmt: skip
def test_formats_of_interlaced_cameras_keep_their_frames(tmp_path, name, coding, size, rate):
    film = tmp_path / name
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d=0.2", *coding, film]
    subprocess.run(command, check=True)
    with Source(film) as source:
        assert any("is deinterlaced" in change for change in source.changes)
        frames = [item for item in source.read() if isinstance(item, Frame)]
    assert not any(frame.frame.interlaced_frame for frame in frames)
    assert [(frame.pts, frame.duration) for frame in frames] == read(film, "off")[1]


def test_the_colours_stay_those_of_the_frame(make_film):
    film = make_film(colours=(("colorspace", 5), ("color_range", 2), ("color_trc", 6), ("color_primaries", 5)))
    with Source(film) as source:
        for item in source.read():
            if isinstance(item, Frame):
                assert (int(item.frame.colorspace), int(item.frame.color_range)) == (5, 2)
                assert (int(item.frame.color_trc), int(item.frame.color_primaries)) == (6, 5)
