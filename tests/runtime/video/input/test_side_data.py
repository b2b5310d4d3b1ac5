"""Side data of frames, read without keeping the frames in memory."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from starcast.runtime.video.input.side_data import read_side_data

ROOMS = Path(__file__).parents[4]


@pytest.fixture
def turned(make_clip) -> Path:
    return make_clip("turned.mp4", frames=5, rotation=90)


def test_only_the_kinds_that_are_asked_for_are_read(turned):
    with av.open(str(turned)) as film:
        frame = next(film.decode(video=0))
        assert list(read_side_data(frame, "DISPLAYMATRIX", "A53_CC")) == ["DISPLAYMATRIX"]
        assert read_side_data(frame) == {}


def test_no_module_reads_side_data_in_the_way_that_keeps_frames():
    modules = [path for room in ("runtime", "benchmarks", "train", "export") for path in (ROOMS / room).rglob("*.py")]
    assert len(modules) > 300
    uses = re.compile(r"^[^`]*\w\.side_data\b(?! import)", re.M)
    assert [path.name for path in modules if uses.search(path.read_text("utf-8"))] == []
