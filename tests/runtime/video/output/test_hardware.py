"""--hardware: an encoder that does not work is found out by a frame, and the CPU takes over and says so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.output import encode, hardware
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.sink import Sink


@pytest.fixture(autouse=True)
def _forget():
    hardware.why_not.cache_clear()
    yield
    hardware.why_not.cache_clear()


def write(target: Path, **options: str) -> list[str]:
    how = EncodingOptions(preset="ultrafast", **options)
    with Sink(target, target.name, (256, 320), Fraction(25), Fraction(1, 25), how) as sink:
        for number in range(3):
            sink.write(RgbFrame(np.full((256, 320, 3), 60 * number, np.uint8), number, 1))
    return sink.notes


@pytest.mark.parametrize("maker", ["auto", "nvenc", "vaapi", "videotoolbox", "qsv"])
def test_a_film_is_whole_whether_the_hardware_works_or_not_and_a_line_says_which(tmp_path, maker):
    (note,) = write(tmp_path / "a.mp4", hardware=maker)
    works = f"encodes the frames (--hardware {maker})" in note
    assert works or f"--hardware {maker} does not work here (" in note
    assert works or note.endswith("libx264 encodes the frames on the CPU")
    assert maker == "auto" or f"({maker}: " in note or works
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert [frame.pts * Fraction(frame.time_base) for frame in film.decode(video=0)] == [
            Fraction(number, 25) for number in range(3)
        ]


def test_an_encoder_that_this_machine_cannot_open_is_tried_once(monkeypatch):
    asked = []
    monkeypatch.setattr(hardware, "open_options", lambda name: asked.append(name) or {})
    choice = complete(EncodingOptions(hardware="auto"), Path("a.mp4"))
    first = encode.choose_encoder(choice)
    tried = len(asked)
    assert encode.choose_encoder(choice) == first
    assert len(asked) == tried


def test_what_works_is_taken_in_the_order_of_makers(monkeypatch):
    monkeypatch.setattr(encode, "_formats_of", lambda name: frozenset({"yuv420p", "nv12", "p010le"}))
    monkeypatch.setattr(encode, "why_not", lambda name, *_: None if name.endswith(("qsv", "vaapi")) else "no device")
    choice = complete(EncodingOptions(hardware="auto", codec="hevc"), Path("a.mp4"))
    assert encode.choose_encoder(choice)[:2] == ("hevc_qsv", "yuv420p")
    ten = complete(EncodingOptions(hardware="vaapi", codec="hevc", pixel_format="yuv420p10"), Path("a.mp4"))
    assert encode.choose_encoder(ten)[:2] == ("hevc_vaapi", "p010le")


def test_without_the_option_no_hardware_is_asked(monkeypatch):
    monkeypatch.setattr(encode, "why_not", lambda *_: pytest.fail("asked"))
    assert encode.choose_encoder(complete(EncodingOptions(), Path("a.mp4"))).name == "libx264"


@pytest.mark.parametrize(("encoder", "options", "settings"), [
    ("h264_nvenc", {}, {"preset": "p4", "rc": "vbr", "cq": "18"}),
    ("h264_nvenc", {"crf": 0, "preset": "veryslow"}, {"preset": "p7", "rc": "vbr", "cq": "1"}),
    ("hevc_nvenc", {"codec": "hevc", "bitrate": "8M"}, {"preset": "p4", "rc": "vbr"}),
    ("h264_qsv", {"preset": "ultrafast"}, {"preset": "veryfast", "global_quality": "18"}),
    ("av1_qsv", {"codec": "av1", "crf": 63}, {"preset": "medium", "global_quality": "51"}),
    ("h264_vaapi", {}, {"rc_mode": "CQP", "global_quality": "18"}),
    ("av1_vaapi", {"codec": "av1", "crf": 63}, {"rc_mode": "CQP", "global_quality": "255"}),
    ("h264_videotoolbox", {"crf": 51}, {"flags": "+qscale", "global_quality": "118"}),
])  # fmt: skip
def test_quality_and_speed_are_said_on_the_encoders_own_scale(encoder, options, settings):
    assert hardware.settings_for(encoder, complete(EncodingOptions(**options), Path("a.mp4"))) == settings


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("a.webm", {"hardware": "nvenc"}, "--hardware nvenc does not encode VP9: leave it out, or give --codec "
                                      "h264, hevc or av1"),
    ("a.mkv", {"hardware": "qsv", "codec": "ffv1"}, "--hardware qsv does not encode FFV1"),
    ("a.gif", {"hardware": "nvenc"}, "leave out --hardware"),
])  # fmt: skip
def test_hardware_without_the_codec_is_refused(name, options, sentence):
    with pytest.raises(OptionError, match=sentence):
        complete(EncodingOptions(**options), Path(name))
