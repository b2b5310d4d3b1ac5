from __future__ import annotations

import pytest
from interruptions import SEGMENT, interrupt

from starcast.runtime.video.restart import segments


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", SEGMENT)


@pytest.fixture
def interrupted(short_segments):
    """interrupted(frames, call): runs `call`, which ends by Ctrl-C when so many frames are encoded."""
    return interrupt
