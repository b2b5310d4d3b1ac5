"""Truth: FFmpeg 5.1 with zscale (zimg 3.0.4), by `zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,
tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv444p`."""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from starcast.errors import VideoError
from starcast.runtime.video import colour
from starcast.runtime.video.input import hdr
from starcast.runtime.video.input.animation import Animation
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source, open_film
from starcast.runtime.video.input.tags import Tags

PQ, HLG = 16, 18
NAMES = {PQ: "smpte2084", HLG: "arib-std-b67"}
RAMP = np.linspace(0, 1, 17)[:, None].repeat(3, 1)  # signal, not light
GREYS = {  # of RAMP, by (transfer, peak)
    (PQ, 1000): [0, 10, 21, 34, 50, 71, 95, 122, 153, 184, 213, 237, 255, 255, 255, 255, 255],
    (PQ, 400): [0, 11, 23, 38, 57, 80, 108, 139, 174, 210, 242, 255, 255, 255, 255, 255, 255],
    (HLG, 1000): [0, 16, 33, 49, 65, 81, 96, 110, 124, 139, 156, 174, 193, 211, 228, 243, 255],
    (HLG, 400): [0, 19, 37, 55, 74, 92, 109, 126, 142, 158, 178, 198, 219, 241, 255, 255, 255],
}
_FULL = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
BARS = np.concatenate([
    _FULL, 0.58 * _FULL[:-1],
    [[0.8, 0.3, 0.2], [0.2, 0.5, 0.6], [0.7, 0.6, 0.5], [0.5, 0.5, 0.3], [0.3, 0.2, 0.6], [0.58, 0.58, 0.2]],
])  # fmt: skip
MAPPED = {  # of BARS, with a peak of 1000
    PQ: [[255, 255, 255], [255, 255, 0], [0, 232, 255], [0, 243, 0], [234, 0, 245], [216, 0, 0], [0, 0, 250],
         [0, 0, 0], [192, 192, 192], [196, 191, 0], [0, 183, 192], [0, 191, 0], [214, 0, 184], [217, 0, 0],
         [0, 0, 198], [218, 0, 0], [0, 138, 205], [252, 136, 87], [156, 153, 10], [0, 0, 207], [196, 190, 0]],
    HLG: [[255, 255, 255], [255, 244, 0], [0, 218, 247], [0, 228, 0], [234, 0, 228], [217, 0, 0], [0, 0, 250],
          [0, 0, 0], [143, 143, 143], [147, 143, 0], [0, 150, 145], [0, 150, 0], [167, 0, 143], [169, 0, 0],
          [0, 0, 150], [230, 0, 0], [0, 124, 150], [191, 130, 105], [126, 125, 64], [72, 41, 155], [147, 142, 0]],
}  # fmt: skip
BAR = 8  # columns


def planes_of(signal: NDArray[np.float64], bits: int) -> list[NDArray[np.uint16]]:
    """Y, Cb and Cr of vertical bars, 4:4:4, limited, by BT.2020's matrix."""
    red, green, blue = np.repeat(signal, BAR, axis=0).T
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    coded = (16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8814, 128 + 224 * (red - luma) / 1.4746)
    return [np.tile(np.rint(plane * 2 ** (bits - 8)), (16, 1)).astype(np.uint16) for plane in coded]


def frame_of(planes: list[NDArray[np.uint16]], pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    return frame


def seen(frame: av.VideoFrame, transfer: int, peak: float = 0.0) -> NDArray[np.int64]:
    """The colour in the middle of each bar."""
    pixels = colour.to_rgb(frame, container=Tags(9, 9, transfer, peak=peak))
    return pixels[8, BAR // 2 :: BAR].astype(int)


@pytest.mark.parametrize(("transfer", "peak"), GREYS)
@pytest.mark.parametrize("bits", [10, 12])
def test_a_ramp_is_mapped_as_zscale_maps_it(transfer, peak, bits):
    mapped = seen(frame_of(planes_of(RAMP, bits), f"yuv444p{bits}le"), transfer, peak)
    assert np.abs(mapped - np.array(GREYS[transfer, peak])[:, None]).max() <= 1


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_colour_bars_are_mapped_as_zscale_maps_them(transfer):
    mapped = seen(frame_of(planes_of(BARS, 10), "yuv444p10le"), transfer)
    assert np.abs(mapped - np.array(MAPPED[transfer])).max() <= 3


@pytest.mark.parametrize(("transfer", "expected"), [(PQ, [0, 235, 218]), (HLG, [0, 223, 220])])
def test_a_green_above_white_is_not_cut_off_before_it_is_mapped(transfer, expected):
    coded = [np.full((16, BAR), level, np.uint16) for level in (752, 616, 64)]  # cyan of FFmpeg's smptehdbars
    assert np.abs(seen(frame_of(coded, "yuv444p10le"), transfer) - expected).max() <= 3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_rgb_and_grey_are_mapped_like_yuv(transfer):
    coded = np.rint(np.repeat(RAMP[:, 0], BAR) * 1023).astype(np.uint16)
    for pixel_format, count in (("gbrp10le", 3), ("gray10le", 1)):
        mapped = seen(frame_of([np.tile(coded, (16, 1))] * count, pixel_format), transfer)
        assert np.abs(mapped - np.array(GREYS[transfer, 1000])[:, None]).max() <= 1, pixel_format


def test_light_is_that_of_the_standards():
    assert hdr._pq(np.array([0.0, 1.0])) == pytest.approx([0, 100])  # of white at 100 cd/m²
    assert hdr._pq(np.array([0.508078])) == pytest.approx([1.0], rel=1e-4)  # BT.2408, table 1: 58 % is 203 cd/m²
    assert hdr._pq(np.array([0.580689])) == pytest.approx([2.03], rel=1e-3)
    assert hdr._hlg(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, 10 * (1 / 12) ** 1.2, 10], rel=1e-6)  # BT.2100-2
    assert hdr._hlg(np.array([0.75])) == pytest.approx([2.03], rel=2e-3)  # BT.2408: 75 % is 203 cd/m²


def mastering(numerator: int, denominator: int, has_light: int = 1) -> bytes:
    return struct.pack("=22i", *[1] * 18, numerator, denominator, 1, has_light)


@pytest.mark.parametrize(("contents", "stated", "believed"), [
    ({}, 0, 1000),
    ({"CONTENT_LIGHT_LEVEL": struct.pack("=2I", 800, 200)}, 800, 800),
    ({"MASTERING_DISPLAY_METADATA": mastering(40000000, 10000)}, 4000, 4000),
    ({"CONTENT_LIGHT_LEVEL": struct.pack("=2I", 800, 200), "MASTERING_DISPLAY_METADATA": mastering(4000, 1)}, 800, 800),
    ({"CONTENT_LIGHT_LEVEL": struct.pack("=2I", 0, 0), "MASTERING_DISPLAY_METADATA": mastering(600, 1)}, 600, 600),
    ({"MASTERING_DISPLAY_METADATA": mastering(600, 1, has_light=0)}, 0, 1000),
    ({"MASTERING_DISPLAY_METADATA": mastering(600, 0)}, 0, 1000),
    ({"MASTERING_DISPLAY_METADATA": mastering(-600, 1)}, 0, 1000),
    ({"MASTERING_DISPLAY_METADATA": b"\x01" * 8, "CONTENT_LIGHT_LEVEL": b""}, 0, 1000),
    ({"CONTENT_LIGHT_LEVEL": struct.pack("=2I", 0xFFFFFFFF, 0)}, 0xFFFFFFFF, 1000),
    ({"CONTENT_LIGHT_LEVEL": struct.pack("=2I", 1, 0)}, 1, 1000),
])  # fmt: skip
def test_the_peak_is_that_of_the_metadata_where_it_can_be_true(contents, stated, believed):
    assert hdr.peak_in(contents) == stated
    assert hdr.believe(stated).nits == believed


@pytest.fixture
def make_night(make_clip: Callable[..., Path]) -> Callable[[int], Path]:
    """A film of BARS in HDR, coded without loss."""

    def make(transfer: int, name: str = "night.mkv", primaries: int = 9, matrix: int = 9) -> Path:
        tags = (("colorspace", matrix), ("color_primaries", primaries), ("color_trc", transfer), ("color_range", 1))
        return make_clip(
            name, frames=2, height=16, width=BAR * len(BARS), pix_fmt="yuv444p10le", planes=planes_of(BARS, 10),
            codec="ffv1", options=(), colours=tags,
        )  # fmt: skip

    return make


def middles(film: Path) -> NDArray[np.int64]:
    with Source(film) as source:
        frame = next(item.frame for item in source.read() if isinstance(item, Frame))
        return colour.to_rgb(frame, container=source.stated)[8, BAR // 2 :: BAR].astype(int)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_film_in_hdr_is_mapped_and_says_so(make_night, transfer):
    film = make_night(transfer)
    with Source(film) as source:
        (change,) = source.changes
    assert "is HDR" in change
    assert "1000 cd/m², because it states none" in change
    assert np.abs(middles(film) - np.array(MAPPED[transfer])).max() <= 3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_that_states_only_its_curve_has_the_colours_of_bt2020(make_night, transfer):
    film = make_night(transfer, primaries=2, matrix=2)
    assert np.abs(middles(film) - np.array(MAPPED[transfer])).max() <= 3


@pytest.mark.parametrize(("transfer", "word"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_is_refused_on_request_with_the_line_that_tone_maps_it(make_night, transfer, word):
    with pytest.raises(VideoError, match=rf"night\.mkv is HDR.*{word}.*ffmpeg -i .*tonemap"):
        Source(make_night(transfer), reading=InputOptions(hdr="refuse"))


def test_a_film_that_turns_hdr_midway_is_mapped_from_there_on(make_clip, monkeypatch):
    film = make_clip("dusk.mp4", frames=6, colours=(("color_trc", 1), ("color_primaries", 1), ("colorspace", 1)))
    with Source(film) as source:
        for number, _ in enumerate(item for item in source.read() if isinstance(item, Frame)):
            assert len(source.changes) == (number >= 3)
            if number == 2:
                monkeypatch.setattr("starcast.runtime.video.input.source.tags_of", lambda *_: Tags(9, 9, PQ))
    assert "is HDR" in source.changes[0]


@pytest.fixture
def hdr_avif(tmp_path: Path) -> Path:
    """Two frames of grey at 58 % of PQ's signal."""
    path = tmp_path / "night.avif"
    try:
        container = av.open(str(path), "w", format="avif")
        stream: Any = container.add_stream("libsvtav1", rate=10, options={"preset": "12", "svtav1-params": "lp=1"})
    except (ValueError, av.FFmpegError):
        pytest.skip("this FFmpeg writes no AVIF")
    with container:
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for tag, value in (("colorspace", 9), ("color_primaries", 9), ("color_trc", PQ), ("color_range", 1)):
            setattr(stream.codec_context, tag, value)
        grey = [np.full((side, side), level, np.uint16) for side, level in ((64, 64 + 508), (32, 512), (32, 512))]
        for number in range(2):
            frame = frame_of(grey, "yuv420p10le")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_an_animated_avif_in_hdr_is_mapped_or_refused(hdr_avif):
    with open_film(hdr_avif) as film:
        assert isinstance(film, Animation)
        (change,) = film.changes
        assert "is HDR, coded with PQ" in change
        frames = [item.frame for item in film.read() if isinstance(item, Frame)]
        mapped = colour.to_rgb(frames[0], container=film.stated)[32, 32].astype(int)
    assert np.abs(mapped - 192).max() <= 3
    with pytest.raises(VideoError, match="is HDR"):
        open_film(hdr_avif, reading=InputOptions(hdr="refuse"))


def has_zscale() -> bool:
    program = shutil.which("ffmpeg")
    if program is None:
        return False
    listed = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, check=False, text=True)
    return " zscale " in listed.stdout


@pytest.mark.skipif(not has_zscale(), reason="the ffmpeg program here has no zscale")
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_the_result_is_that_of_the_line_which_a_refusal_prints(make_night, tmp_path, transfer):
    film = make_night(transfer)
    with pytest.raises(VideoError) as refusal:
        Source(film, reading=InputOptions(hdr="refuse"))
    (line,) = re.findall(r"`(ffmpeg [^`]*)`", str(refusal.value))
    filters = shlex.split(line)[shlex.split(line).index("-vf") + 1].replace("format=yuv420p", "format=yuv444p")
    out = tmp_path / "out.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", film, "-vf", filters, "-c:v", "ffv1", out], check=True)
    assert np.abs(middles(film) - middles(out)).max() <= 3
