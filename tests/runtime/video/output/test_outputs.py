"""Films of every codec, container and pixel format, read back by FFmpeg and by the numbers of the standards."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from starcast.errors import OptionError, VideoError
from starcast.runtime.encoding import CODECS, EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import TABLE, complete, suffix_for
from starcast.runtime.video.output.encode import choose_encoder
from starcast.runtime.video.output.sink import Sink
from starcast.runtime.video.translate import translate_video

BARS = np.array([
    [255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0],
    [200, 60, 30], [128, 128, 128], [40, 90, 160], [250, 200, 170],
])  # fmt: skip
BAR, HEIGHT, MARKED = 16, 64, 16  # pixels: width of a bar, height, rows of a grey that says which frame it is
TICK = Fraction(1, 90000)
TIMES = [0, 3600, 4950, 10800, 11970, 30060, 31500, 33210, 40050, 60030]  # whole milliseconds are for Matroska
MILLISECOND = Fraction(1, 1000)

# (codec, suffix, pixel format): every pixel format in one container, every container with the usual one
ROWS = [
    ("h264", ".mp4", "yuv420p"), ("h264", ".m4v", "yuv420p"), ("h264", ".mov", "yuv420p"), ("h264", ".mkv", "yuv420p"),
    ("h264", ".mp4", "yuv422p"), ("h264", ".mkv", "yuv444p"), ("h264", ".mp4", "yuv420p10"),
    ("h264", ".mov", "yuv422p10"), ("h264", ".mkv", "yuv444p10"),
    ("hevc", ".mp4", "yuv420p"), ("hevc", ".mov", "yuv420p10"), ("hevc", ".mkv", "yuv422p10"),
    ("hevc", ".mp4", "yuv444p"),
    ("av1", ".mp4", "yuv420p"), ("av1", ".mkv", "yuv420p10"), ("av1", ".webm", "yuv420p10"),
    ("vp9", ".webm", "yuv420p"), ("vp9", ".mp4", "yuv420p"), ("vp9", ".mkv", "yuv422p"), ("vp9", ".webm", "yuv444p"),
    ("prores", ".mov", "yuv422p10"), ("prores", ".mkv", "yuv422p10"), ("prores", ".mov", "yuv444p10"),
    ("ffv1", ".mkv", "rgb"), ("ffv1", ".mkv", "yuv420p"), ("ffv1", ".mkv", "yuv444p10"),
]  # fmt: skip
STORED = {"yuv420p10": "yuv420p10le", "yuv422p10": "yuv422p10le", "yuv444p10": "yuv444p10le", "rgb": "bgr0"}


def drawn(number: int) -> NDArray[np.uint8]:
    """Colour bars above a grey that says which frame it is."""
    bars = np.repeat(BARS, BAR, axis=0).astype(np.uint8)
    pixels = np.repeat(bars[None], HEIGHT, axis=0)
    pixels[-MARKED:] = 20 + 20 * number
    return pixels


def settings(codec: str, **changes: Any) -> EncodingOptions:
    fine = {} if TABLE[codec].crf is None else {"crf": 2, "preset": "ultrafast"}
    return EncodingOptions(**{"codec": codec, **fine, **changes})


def write(target: Path, options: EncodingOptions, times: list[int] = TIMES) -> list[str]:
    """The notes of the film."""
    size = drawn(0).shape[:2]
    with Sink(target, target.name, size, Fraction(25), TICK, options) as sink:
        for number, (pts, after) in enumerate(zip(times, [*times[1:], times[-1] + 3600], strict=True)):
            sink.write(RgbFrame(drawn(number), pts, after - pts))
    return sink.notes


def rgb_of(frame: Any) -> NDArray[np.float64]:
    """A frame's pixels by H.273's numbers for BT.709 in limited range, [H, W, 3]; chroma is repeated."""
    if frame.format.is_rgb:
        return np.asarray(frame.to_ndarray(format="rgb24"), np.float64)
    bits = frame.format.components[0].bits
    planes = []
    for plane in frame.planes[:3]:
        kind = np.uint8 if bits == 8 else np.uint16
        rows = np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] / 2 ** (bits - 8)
        planes.append(rows.repeat(frame.height // plane.height, 0).repeat(frame.width // plane.width, 1))
    luma, blue, red = (planes[0] - 16) / 219, (planes[1] - 128) / 224, (planes[2] - 128) / 224
    kr, kb = 0.2126, 0.0722
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return 255 * np.stack([r, (luma - kr * r - kb * b) / (1 - kr - kb), b], -1)


@pytest.mark.parametrize(("codec", "suffix", "pixel_format"), ROWS, ids=["-".join(row) for row in ROWS])
def test_frames_come_back_at_their_times_in_their_colours(tmp_path, codec, suffix, pixel_format):
    options = settings(codec, pixel_format=pixel_format)
    try:
        choose_encoder(options)
    except (VideoError, OptionError) as error:
        pytest.skip(str(error))
    target = tmp_path / f"out{suffix}"
    write(target, options)
    with av.open(str(target)) as film:
        context = film.streams.video[0].codec_context
        tags = (int(context.colorspace), int(context.color_primaries), int(context.color_trc), int(context.color_range))
        frames = list(film.decode(video=0))
        times = [frame.pts * Fraction(frame.time_base) for frame in frames]
    assert tags == ((0, 1, 1, 2) if pixel_format == "rgb" else (1, 1, 1, 1))
    # FFmpeg reads the 4444 profiles of ProRes as 12 bits, which they may have
    stored = "yuv444p12le" if (codec, pixel_format) == ("prores", "yuv444p10") else STORED.get(pixel_format)
    assert {frame.format.name for frame in frames} == {stored or pixel_format}
    wanted = [tick * TICK for tick in TIMES]
    if suffix in (".mkv", ".webm"):  # whose times are milliseconds
        assert np.abs(np.subtract(times, wanted)).max() <= MILLISECOND / 2
    else:
        assert times == wanted
    for number, frame in enumerate(frames):
        pixels = rgb_of(frame)
        assert pixels.shape == drawn(number).shape
        inside = pixels[4 : HEIGHT - MARKED - 8, BAR // 2 :: BAR]
        assert np.abs(inside - BARS).max() <= (0 if pixel_format == "rgb" else 2.5 if "420" in pixel_format else 2)
        assert np.abs(pixels[-MARKED // 2, 20:-20].mean() - (20 + 20 * number)) <= 1


@pytest.mark.parametrize("codec", ["hevc"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_apples_players_are_told_of_hevc_by_the_tag_that_they_know(tmp_path, codec, suffix):
    write(tmp_path / f"out{suffix}", settings(codec), [0, 3600])
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        assert film.streams.video[0].codec_context.codec_tag == "hvc1"


def test_without_options_a_film_is_h264_and_a_webm_vp9(tmp_path):
    for suffix in (".mp4", ".m4v", ".mov", ".mkv"):
        choice = complete(EncodingOptions(), Path(f"a{suffix}"))
        assert (choice.codec, choice.crf, choice.preset, choice.pixel_format) == ("h264", 18, "medium", "yuv420p")
    assert complete(EncodingOptions(), Path("a.WEBM")).codec == "vp9"
    assert [suffix_for(codec) for codec in (None, *CODECS)] == [
        ".mp4", ".mp4", ".mp4", ".mp4", ".webm", ".mov", ".mkv"
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("a.webm", {"codec": "h264"}, r"\.webm cannot hold H\.264: end -o in \.mp4, \.m4v, \.mov or \.mkv, or give --codec "
                                  "av1 or vp9"),
    ("a.mov", {"codec": "vp9"}, r"\.mov cannot hold VP9: end -o in \.webm, \.mp4, \.m4v or \.mkv, or give --codec "
                                "h264, hevc or prores"),
    ("a.mov", {"codec": "av1"}, r"\.mov cannot hold AV1: end -o in \.mp4, \.m4v, \.mkv or \.webm"),
    ("a.mp4", {"codec": "prores"}, r"\.mp4 cannot hold ProRes: end -o in \.mov or \.mkv"),
    ("a.webm", {"codec": "prores"}, r"\.webm cannot hold ProRes: end -o in \.mov or \.mkv"),
    ("a.mov", {"codec": "ffv1"}, r"\.mov cannot hold FFV1: end -o in \.mkv, or give"),
    ("a.mkv", {"codec": "h264", "pixel_format": "rgb"}, "H.264 has no rgb: give --pixel-format .*yuv444p10, or --codec "
                                                         "ffv1"),
    ("a.mov", {"codec": "prores", "pixel_format": "yuv420p"}, "ProRes has no yuv420p: give --pixel-format yuv422p10 or "
                                                              "yuv444p10, or --codec h264"),
    ("a.mov", {"codec": "prores", "crf": 20}, "ProRes sets its own quality: leave out --crf, or give --codec h264, "
                                              "hevc, av1 or vp9"),
    ("a.mkv", {"codec": "ffv1", "crf": 0}, "FFV1 is lossless: leave out --crf"),
    ("a.mkv", {"codec": "ffv1", "bitrate": "8M"}, "FFV1 is lossless: leave out --bitrate"),
    ("a.mov", {"codec": "prores", "preset": "slow"}, "ProRes has a single speed: leave out --preset"),
    ("a.mp4", {"crf": 52}, "--crf of H.264 goes from 0 to 51, and 52 was given: 18 shows hardly any loss"),
    ("a.mp4", {"codec": "av1", "crf": 0}, "--crf of AV1 goes from 1 to 63, and 0 was given"),
    ("a.avi", {}, r"a\.avi cannot be written: end its name in \.mp4, \.m4v, \.mov, \.mkv, \.webm"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_does(name, options, sentence):
    with pytest.raises(OptionError, match=sentence):
        complete(EncodingOptions(**options), Path(name))


def test_a_pixel_format_that_this_ffmpeg_lacks_is_refused_with_those_it_has():
    if "yuv420p10le" in {one.name for one in av.Codec("libvpx-vp9", "w").video_formats or ()}:
        pytest.skip("this FFmpeg's libvpx has 10 bits")
    with pytest.raises(OptionError, match=r"VP9 with libvpx-vp9, which cannot store yuv420p10: give --pixel-format "
                                          "yuv420p or yuv422p or yuv444p"):  # fmt: skip
        choose_encoder(complete(EncodingOptions(pixel_format="yuv420p10"), Path("a.webm")))


@pytest.mark.parametrize("text", ["", "8", "fast", "8MB", "-8M", "0", "1e6", "9999G", "8 M 8"])
def test_what_is_no_bitrate_is_refused(text):
    with pytest.raises(OptionError, match=f"--bitrate {text} is not a bitrate from 1k to 2G"):
        EncodingOptions(bitrate=text)


def test_a_quality_and_a_bitrate_are_not_given_together():
    assert EncodingOptions(bitrate="1.5m").bits_per_second == 1_500_000
    with pytest.raises(OptionError, match="--crf asks for a quality and --bitrate for a size: give one of them"):
        EncodingOptions(crf=20, bitrate="8M")


@pytest.mark.parametrize("codec", [codec for codec in TABLE if TABLE[codec].crf is not None])
def test_a_film_has_about_the_bitrate_that_was_asked_for(tmp_path, codec):
    """Noise, which takes any number of bits; 0.9 s in both."""
    random, sizes = np.random.default_rng(0), []
    noise = [random.integers(0, 256, (64, 192, 3), np.uint8) for _ in range(25)]
    for bitrate in ("200k", "1600k"):
        target = tmp_path / f"{bitrate}.mkv"
        options = EncodingOptions(codec=codec, bitrate=bitrate, preset="ultrafast")
        with Sink(target, target.name, (64, 192), Fraction(25), Fraction(1, 25), options) as sink:
            for number, pixels in enumerate(noise):
                sink.write(RgbFrame(pixels, number, 1))
        sizes.append(target.stat().st_size)
    assert sizes[1] > 2 * sizes[0]


@pytest.mark.parametrize(("codec", "pixel_format", "size"), [
    ("h264", "yuv420p", (16, 18)), ("h264", "yuv422p", (15, 18)), ("h264", "yuv444p", (15, 17)),
    ("ffv1", "rgb", (15, 17)), ("ffv1", "yuv420p", (16, 18)), ("prores", "yuv444p10", (15, 17)),
])  # fmt: skip
def test_odd_sides_are_padded_only_where_the_chroma_is_coarser(tmp_path, codec, pixel_format, size):
    target = tmp_path / "out.mkv"
    with Sink(
        target, target.name, (15, 17), Fraction(25), Fraction(1, 25), settings(codec, pixel_format=pixel_format)
    ) as sink:
        sink.write(RgbFrame(np.full((15, 17, 3), 90, np.uint8), 0, 1))
    with av.open(str(target)) as film:
        frame = next(film.decode(video=0))
    assert (frame.height, frame.width) == size


def test_speeds_of_another_scale_are_named_and_h264_says_nothing(tmp_path):
    assert write(tmp_path / "a.mp4", EncodingOptions(preset="ultrafast"), [0]) == []
    (note,) = write(tmp_path / "a.webm", EncodingOptions(preset="slow"), [0])
    assert note == "libvpx-vp9 has its own scale of speed: --preset slow is its deadline good, cpu-used 2"


def test_a_size_that_the_encoder_refuses_is_named(tmp_path):
    options = EncodingOptions(codec="av1", preset="ultrafast")
    with (
        pytest.raises(VideoError, match="libsvtav1 cannot encode frames of 2x2 pixels as yuv420p"),
        Sink(tmp_path / "a.mkv", "a.mkv", (2, 2), Fraction(25), Fraction(1, 25), options),
    ):
        pass


@pytest.mark.parametrize(("suffix", "options"), [
    (".mp4", {"codec": "hevc", "preset": "ultrafast"}), (".mov", {"codec": "prores"}), (".mkv", {"codec": "ffv1"}),
    (".webm", {"preset": "ultrafast"}), (".mp4", {"codec": "av1", "preset": "ultrafast"}), (".gif", {}),
], ids=["hevc", "prores", "ffv1", "vp9", "av1", "gif"])  # fmt: skip
def test_a_turned_source_comes_out_upright(tiny_bundle, make_clip, tmp_path, suffix, options):
    """The left half of the stored frames is dark; turned by a quarter counter-clockwise, that is the lower half."""
    image = np.full((64, 96, 3), 200, np.uint8)
    image[:, :48] = 40
    clip = make_clip("a.mp4", frames=2, width=96, height=64, rotation=90.0, images=[image, image])
    out = tmp_path / f"out{suffix}"
    settings = VideoOptions(domain="dog", psi=0.0, fit="native", backend="onnxruntime", **options)
    translate_video(tiny_bundle, clip, out, settings, progress=lambda line: None)
    with av.open(str(out)) as film:
        frame = next(film.decode(video=0))
        assert (frame.height, frame.width, int(getattr(frame, "rotation", 0))) == (96, 64, 0)
        grey = frame.to_ndarray(format="gray").astype(int)
    assert grey[8:40].mean() > grey[56:88].mean() + 80
