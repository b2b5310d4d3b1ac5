"""Films that only the ffmpeg program makes, and reading them with `Source` alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from starcast.runtime.video.input.source import Frame, Source

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes these films")
TEST_IMAGES = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")


def ffmpeg(*arguments: object) -> str:
    """Run ffmpeg; what it prints."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read(path: Path) -> tuple[list[Frame], Source]:
    """Every frame, and the source after them."""
    with Source(path) as source:
        return [item for item in source.read() if isinstance(item, Frame)], source
