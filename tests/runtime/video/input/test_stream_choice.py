"""A film of three streams: sound, a large grey one, and a small white one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source


@pytest.fixture
def two_views(tmp_path: Path) -> Path:
    path = tmp_path / "views.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        streams = []
        for size, language in (((64, 48), "eng"), ((32, 16), "deu")):
            stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.metadata["language"] = language
            streams.append(stream)
        for number in range(5):
            for stream, level in zip(streams, (100, 235), strict=True):
                image = np.full((stream.height, stream.width, 3), level, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        for stream in (sound, *streams):
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("wanted", "index", "size"), [
    (None, 1, (48, 64)), ("1", 1, (48, 64)), ("2", 2, (16, 32)), ("v:0", 1, (48, 64)), ("v:1", 2, (16, 32)),
])  # fmt: skip
def test_a_stream_is_chosen_by_its_number_or_its_place(two_views, wanted, index, size):
    with Source(two_views, reading=InputOptions(stream=wanted)) as source:
        assert (source.index, source.shown_size) == (index, size)
        assert sum(isinstance(item, Frame) for item in source.read()) == 5


@pytest.mark.parametrize("wanted", ["0", "3", "v:2"])
def test_a_stream_that_is_not_there_is_refused_with_those_that_are(two_views, wanted):
    with pytest.raises(OptionError, match=r"1 \(64x48, 25 frames/s, eng\), 2 \(32x16, 25 frames/s, (ger|deu)\)"):
        Source(two_views, reading=InputOptions(stream=wanted))


@pytest.mark.parametrize("wanted", ["", "a:0", "-1", "v:", "1.5", "v:1:2", "٣"])
def test_what_is_no_number_of_a_stream_is_refused(wanted):
    with pytest.raises(OptionError, match="--stream takes the number of a stream"):
        InputOptions(stream=wanted)
