"""HEVC of frames narrower than x265's blocks, which made x265 write beyond its memory, or hang."""

from __future__ import annotations

import subprocess
import sys

import pytest

FILMS = 30  # with fewer, a crash may stay away

ENCODE = """
import sys
from fractions import Fraction
import av, numpy as np
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.encode import VideoEncoder
from pathlib import Path

target, width, films = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for _ in range(films):
    with av.open(str(target), "w") as container:
        options = complete(EncodingOptions(codec="hevc", preset="ultrafast"), target)
        encoder = VideoEncoder(container, 64, width, Fraction(25), Fraction(1, 25), options)
        black = np.zeros((64, width, 3), np.uint8)
        packets = [packet for pts in range(6) for packet in encoder.encode(black, pts, 1)] + encoder.flush()
        for packet in packets:
            container.mux(packet)
print(len(packets))
"""


@pytest.mark.parametrize("width", [16, 40, 48])
def test_narrow_frames_are_encoded(tmp_path, width):
    # a process of its own: a crash ends it
    ran = subprocess.run(
        [sys.executable, "-c", ENCODE, tmp_path / "out.mkv", str(width), str(FILMS)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout.strip()) == (0, "6"), ran.stderr
