"""Sound and frames stay together where clocks jump: a flash and a click at the same second are found in the output."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beacons import assert_together, beacons, write_beacon

NINETY = 90000
VIDEO_PID = 256


@pytest.fixture
def together(tmp_path: Path, passed_through: Any) -> float:
    """Seconds from flash to click in a recording without a break: the sound codec's own delay."""
    write_beacon(tmp_path / "whole.ts", 2, 2)
    passed_through(tmp_path / "whole.ts", tmp_path / "whole.mp4")
    flashes, clicks = beacons(tmp_path / "whole.mp4")
    assert len(flashes) == len(clicks) == 2
    return float(np.mean(np.subtract(clicks, flashes)))


@pytest.mark.parametrize(("frames_s", "sound_s"), [(2, 1.6), (2, 2.3), (2, 2)], ids=["shorter", "longer", "equal"])
def test_joined_recordings_stay_in_sync_after_each_join(passed_through, together, watch, tmp_path, frames_s, sound_s):
    write_beacon(tmp_path / "a.ts", frames_s, sound_s)
    (tmp_path / "j.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 4)
    passed_through(tmp_path / "j.ts", tmp_path / "j.mp4")
    assert_together(tmp_path / "j.mp4", 8, together)
    film = watch(tmp_path / "j.mp4")
    assert len(film.times) == 200
    assert film.times[-1] - film.times[0] == pytest.approx(8 - 0.04 + 3 * max(0, sound_s - frames_s), abs=0.1)


@pytest.mark.parametrize("seconds", [(0, 5000), (5000, 0), (0, 5000, 60)], ids=["ahead", "back", "twice"])
def test_a_jump_of_the_clock_is_closed(passed_through, together, watch, tmp_path, seconds):
    for number, starts_s in enumerate(seconds):
        write_beacon(tmp_path / f"{number}.ts", 2, 1.6, starts_s)
    parts = [(tmp_path / f"{number}.ts").read_bytes() for number in range(len(seconds))]
    (tmp_path / "j.ts").write_bytes(b"".join(parts))
    passed_through(tmp_path / "j.ts", tmp_path / "j.mp4")
    assert_together(tmp_path / "j.mp4", 2 * len(seconds), together)
    film = watch(tmp_path / "j.mp4")
    assert film.times[-1] - film.times[0] == pytest.approx(2 * len(seconds) - 0.04, abs=0.05)


def test_a_clock_that_wraps_at_2_to_the_33rd_goes_on(passed_through, together, watch, tmp_path):
    write_beacon(tmp_path / "a.ts", 4, 4, 2**33 // NINETY - 2)
    passed_through(tmp_path / "a.ts", tmp_path / "out.mp4")
    assert_together(tmp_path / "out.mp4", 4, together)
    film = watch(tmp_path / "out.mp4")
    assert film.times[-1] - film.times[0] == Fraction(99, 25)


@pytest.mark.parametrize("wrong_s", [-1, 3, 100, 20000])
@pytest.mark.parametrize("fields", ["pts and dts", "pts"])
def test_one_wrong_time_moves_no_other_frame(passed_through, together, watch, tmp_path, wrong_s, fields):
    write_beacon(tmp_path / "a.ts", 3, 3)
    content = bytearray((tmp_path / "a.ts").read_bytes())
    shift_frame(content, 40, wrong_s, both=fields != "pts")
    (tmp_path / "a.ts").write_bytes(content)
    assert not passed_through(tmp_path / "a.ts", tmp_path / "out.mp4").ends_early
    assert_together(tmp_path / "out.mp4", 3, together)
    times = watch(tmp_path / "out.mp4").times
    assert [time - times[0] for time in times] == pytest.approx([number / 25 for number in range(75)], abs=0.001)


def shift_frame(content: bytearray, number: int, seconds: int, *, both: bool) -> None:
    """Move the times of one frame in a transport stream (ISO/IEC 13818-1, 2.4.3.7)."""
    begins = [
        at
        for at in range(0, len(content), 188)
        if int.from_bytes(content[at + 1 : at + 3], "big") & 0x1FFF == VIDEO_PID and content[at + 1] & 0x40
    ]
    at = begins[number] + 4
    if content[at - 1] & 0x20:
        at += 1 + content[at]
    assert content[at : at + 3] == b"\0\0\1"
    has_both = content[at + 7] >> 6 == 3
    for field in [at + 9, *([at + 14] if has_both and both else [])]:
        bits = int.from_bytes(content[field : field + 5], "big")
        time = ((bits >> 33 & 7) << 30 | (bits >> 17 & 0x7FFF) << 15 | bits >> 1 & 0x7FFF) + seconds * NINETY
        time %= 2**33
        kept = bits & 0xF1_0001_0001
        bits = kept | (time >> 30) << 33 | (time >> 15 & 0x7FFF) << 17 | (time & 0x7FFF) << 1
        content[field : field + 5] = bits.to_bytes(5, "big")
