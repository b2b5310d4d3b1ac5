"""Colour bars in every kind of source: how many frames come out, when each is shown, which way up, in which colours."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from one_engine import one_engine
from PIL import Image

from starcast.errors import VideoError
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes these films")

BARS = np.array([[255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [200, 60, 30],
                 [40, 90, 160], [250, 200, 170]])  # fmt: skip
BAR, HEIGHT, STRIP, FRAMES = 16, 64, 16, 10  # columns of a bar; rows; rows below of a grey that says which frame it is
TAGGED = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
# what states no matrix is read by BT.601 at this size
UNTAGGED = ("-vf", "scale=in_color_matrix=bt709:out_color_matrix=bt601:flags=accurate_rnd+full_chroma_int")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "1")
EVEN = [Fraction(n, 25) for n in range(FRAMES)]
UNEVEN = [Fraction(40 * n + 4 * n * n, 1000) for n in range(FRAMES)]

FILMS = {
    "H.264 in MP4": ("a.mp4", (*X264, "-pix_fmt", "yuv420p", *TAGGED)),
    "H.264 with B frames in TS": ("a.ts", (*X264, "-bf", "2", "-pix_fmt", "yuv420p", *TAGGED)),
    "H.264 4:4:4": ("a.mkv", (*X264, "-pix_fmt", "yuv444p", *TAGGED)),
    "H.264 4:2:2, 10 bits": ("a.mkv", (*X264, "-pix_fmt", "yuv422p10le", *TAGGED)),
    "HEVC, 10 bits": ("a.mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:crf=1",
                                "-pix_fmt", "yuv420p10le", *TAGGED)),
    "full range": ("a.mkv", (*X264, "-vf", "scale=out_range=pc", "-pix_fmt", "yuv420p", *TAGGED[:-1], "pc")),
    "ProRes": ("a.mov", ("-c:v", "prores_ks", "-qscale:v", "1", "-pix_fmt", "yuv422p10le", *TAGGED)),
    "VP9": ("a.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "2", "-b:v", "0",
                       "-pix_fmt", "yuv420p", *TAGGED)),
    "VP8": ("a.webm", ("-c:v", "libvpx", "-deadline", "realtime", "-qmin", "0", "-qmax", "4", "-b:v", "4M", *TAGGED,
                       "-pix_fmt", "yuv420p")),
    "AV1": ("a.mkv", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "4", "-pix_fmt", "yuv420p", *TAGGED)),
    "MPEG-2, interlaced": ("a.mpg", ("-c:v", "mpeg2video", "-qmin", "1", "-q:v", "1", "-flags", "+ildct+ilme", "-top",
                                     "1", "-pix_fmt", "yuv420p", *TAGGED)),
    "MPEG-4 in AVI": ("a.avi", ("-c:v", "mpeg4", "-qmin", "1", "-q:v", "1", *UNTAGGED, "-pix_fmt", "yuv420p")),
    "FLV": ("a.flv", ("-c:v", "flv", "-qmin", "1", "-q:v", "1", *UNTAGGED, "-pix_fmt", "yuv420p")),
    "Theora": ("a.ogv", ("-c:v", "libtheora", "-q:v", "10", *UNTAGGED, "-pix_fmt", "yuv420p")),
    "Motion JPEG": ("a.avi", ("-c:v", "mjpeg", "-q:v", "1", "-vf", UNTAGGED[1] + ":out_range=pc", "-pix_fmt",
                              "yuvj444p")),
    "FFV1 in RGB": ("a.mkv", ("-c:v", "ffv1", "-vf", "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int",
                              "-pix_fmt", "bgr0")),
    "uneven times": ("a.mkv", (*X264, "-vf", "setpts='(40*N+4*N*N)/1000/TB'", "-fps_mode", "passthrough",
                               "-enc_time_base", "1:1000", "-pix_fmt", "yuv420p", *TAGGED)),
}  # fmt: skip
COARSE = ("AV1", "MPEG-2, interlaced", "Theora")  # they lose a level of chroma, which is two of blue


def drawn(number: int) -> NDArray[np.uint8]:
    """Bars from left to right, above a grey that says which frame it is."""
    pixels = np.repeat(np.repeat(BARS, BAR, axis=0)[None], HEIGHT, axis=0).astype(np.uint8)
    pixels[-STRIP:] = 40 + 20 * number
    return pixels


def coded(pixels: NDArray[np.uint8], red: float = 0.2126, blue: float = 0.0722, bits: int = 8) -> list[NDArray[Any]]:
    """Y, Cb and Cr in limited range, by H.273, with the weights of red and blue in luma."""
    r, g, b = np.moveaxis(pixels / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    planes = 16 + 219 * luma, 128 + 224 * (b - luma) / 2 / (1 - blue), 128 + 224 * (r - luma) / 2 / (1 - red)
    return [np.rint(plane * 2 ** (bits - 8)).astype(np.uint8 if bits == 8 else np.uint16) for plane in planes]


def write(path: Path, pixel_format: str, frames: list[list[NDArray[Any]]], tags: tuple[int, int, int]) -> None:
    """A lossless film of planes. `tags`: matrix, primaries, transfer."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("ffv1", rate=25)
        video.height, video.width, video.pix_fmt = *frames[0][0].shape, pixel_format
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags
        context.color_range = 1
        for number, planes in enumerate(frames):
            frame = av.VideoFrame(video.width, video.height, pixel_format)
            for plane, values in zip(frame.planes, planes, strict=True):
                padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
                padded[:, : values.shape[1]] = values
                plane.update(padded.tobytes())
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def ffmpeg(*arguments: object) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "bars.mkv"
    write(path, "yuv444p", [coded(drawn(number)) for number in range(FRAMES)], (1, 1, 1))
    return path


@pytest.fixture(scope="module")
def show(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """show(source): the frames of its translation, of which nothing is seen, and their times."""
    target = tmp_path_factory.mktemp("shown") / "out.mkv"
    with one_engine(tiny_bundle) as translate:

        def run(source: Path, **options: Any) -> tuple[NDArray[np.int64], list[Fraction]]:
            settings = {"opacity": 0.0, "keep_size": True, "codec": "ffv1", "pixel_format": "rgb", "overwrite": True}
            report = translate(source, target, **settings, **options)
            assert report.failed == []
            with av.open(str(target)) as film:
                frames = list(film.decode(video=0))
            assert all(frame.rotation == 0 for frame in frames)
            return (
                np.array([frame.to_ndarray(format="rgb24") for frame in frames]).astype(int),
                [frame.pts * frame.time_base for frame in frames],
            )

        yield run


def assert_shown(
    frames: NDArray[np.int64], times: list[Fraction], at: list[Fraction] = EVEN, first: int = 0, within: int = 2
) -> None:
    """`within`: levels by which a bar may be off."""
    assert len(frames) == len(at)
    assert np.abs(np.subtract(times, [times[0] + time for time in at])).max() <= Fraction(1, 1000)
    for number, frame in enumerate(frames, start=first):
        assert frame.shape == drawn(0).shape
        assert np.abs(frame[6 : HEIGHT - STRIP - 6, BAR // 2 :: BAR] - BARS).max() <= within
        assert np.abs(frame[-STRIP // 2, 6:-6] - (40 + 20 * number)).max() <= within


@pytest.mark.parametrize("kind", FILMS)
def test_bars_of_a_film_are_shown_in_their_colours_at_their_times(bars, show, tmp_path, kind):
    name, arguments = FILMS[kind]
    ffmpeg("-i", bars, *arguments, tmp_path / name)
    at = UNEVEN if kind == "uneven times" else EVEN
    assert_shown(*show(tmp_path / name), at, within=3 if kind in COARSE else 2)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_bars_of_an_animation(show, tmp_path, suffix):
    images = [Image.fromarray(drawn(number)) for number in range(FRAMES)]
    if suffix == "gif":
        images = [image.quantize(64) for image in images]
    fine = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}.get(suffix, {})
    images[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=images[1:], duration=40, loop=0, **fine)
    assert_shown(*show(tmp_path / f"a.{suffix}"), within=3 if suffix == "avif" else 2)  # AV1 has lost a level


@pytest.mark.parametrize("pattern", ["", "shot_%02d.png"])
def test_bars_of_numbered_images(show, tmp_path, pattern):
    for number in range(FRAMES):
        Image.fromarray(drawn(number)).save(tmp_path / f"shot_{number:02d}.png")
    assert_shown(*show(tmp_path / pattern))
    assert_shown(*show(tmp_path / pattern, fps="50"), [time / 2 for time in EVEN])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_bars_of_a_turned_film_stand_upright(make_clip, show, quarters):
    """The display matrix turns by as much as the stored frames are turned back."""
    images = [np.rot90(drawn(number), -quarters) for number in range(FRAMES)]
    height, width = images[0].shape[:2]
    clip = make_clip("a.mp4", frames=FRAMES, images=images, height=height, width=width, rotation=90.0 * quarters,
                     pix_fmt="yuv444p")  # fmt: skip
    assert_shown(*show(clip))


def test_bars_of_a_film_of_which_an_edit_list_shows_a_part(bars, show, tmp_path):
    ffmpeg("-i", bars, *X264, "-g", "25", "-pix_fmt", "yuv420p", *TAGGED, tmp_path / "whole.mp4")
    ffmpeg("-ss", "0.16", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "part.mp4")
    assert_shown(*show(tmp_path / "part.mp4"), EVEN[: FRAMES - 4], first=4)


def test_bars_of_a_transparent_film_lie_on_white(show, tmp_path):
    frames = []
    for number in range(FRAMES):
        luma, blue, red = coded(drawn(number))
        alpha = np.full_like(luma, 255)
        alpha[:, : 2 * BAR] = 0  # the white bar and the yellow one
        frames.append([luma, blue, red, alpha])
    write(tmp_path / "a.mkv", "yuva444p", frames, (1, 1, 1))
    ffmpeg("-i", tmp_path / "a.mkv", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "2",
           "-b:v", "0", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", *TAGGED, tmp_path / "a.webm")  # fmt: skip
    shown, times = show(tmp_path / "a.webm")
    assert (shown[:, 4:-4, 4 : 2 * BAR - 4] >= 253).all()
    shown[:, :, BAR : 2 * BAR] = np.array(BARS[1])
    shown[:, -STRIP:, : 2 * BAR] = shown[:, -STRIP:, -1:]
    assert_shown(shown, times)


@pytest.mark.parametrize(("transfer", "name"), [(16, "smpte2084"), (18, "arib-std-b67")], ids=["PQ", "HLG"])
def test_bars_in_hdr_are_those_of_the_line_that_a_refusal_prints(show, tmp_path, transfer, name):
    if b" zscale " not in ffmpeg("-filters"):
        pytest.skip("the ffmpeg program here has no zscale")
    frames = [coded(drawn(number) * 0.58, 0.2627, 0.0593, 10) for number in range(FRAMES)]
    write(tmp_path / "bars.mkv", "yuv444p10le", frames, (9, 9, transfer))
    film = tmp_path / "a.mp4"
    ffmpeg("-i", tmp_path / "bars.mkv", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
           "log-level=error:crf=1", "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc", "-color_primaries", "bt2020",
           "-color_trc", name, film)  # fmt: skip
    with pytest.raises(VideoError, match="is HDR") as refusal:
        Source(film, reading=InputOptions(hdr="refuse"))
    (line,) = re.findall(r"`(ffmpeg [^`]*)`", str(refusal.value))
    filters = shlex.split(line)[shlex.split(line).index("-vf") + 1].replace("format=yuv420p", "format=yuv444p")
    ffmpeg("-i", film, "-vf", filters, "-c:v", "ffv1", tmp_path / "mapped.mkv")
    wanted, _ = show(tmp_path / "mapped.mkv")
    shown, times = show(film)
    assert len(shown) == FRAMES
    assert np.abs(np.subtract(times, EVEN)).max() <= Fraction(1, 1000)
    rows = [HEIGHT // 4, HEIGHT - STRIP // 2]
    assert np.abs(shown[:, rows, BAR // 2 :: BAR] - wanted[:, rows, BAR // 2 :: BAR]).max() <= 3
