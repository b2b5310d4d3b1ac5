"""Recordings made of numbers alone: a stream's packets as (stream, second), in the order of a file."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from starcast.runtime.video.input.one_clock import OneClock, Placed, Stamp

FRAME, SOUND = Fraction(1, 25), Fraction(3, 125)
LASTS = {0: FRAME, 1: SOUND}


@dataclass(frozen=True)
class Part:
    """A piece of a recording: when its clock starts, and how long its frames and its sound last, in seconds."""

    starts: Fraction
    frames_s: Fraction
    sound_s: Fraction
    sound_late_s: Fraction = Fraction(0)

    def packets(self, number: int) -> list[tuple[int, int, Fraction]]:
        """(part, stream, time), as they are interleaved."""
        video = [(number, 0, self.starts + at * FRAME) for at in range(int(self.frames_s / FRAME))]
        late = self.sound_late_s
        sound = [(number, 1, self.starts + late + at * SOUND) for at in range(int(self.sound_s / SOUND))]
        return sorted(video + sound, key=lambda packet: packet[2])


def stamp_of(packet: tuple[int, int, Fraction]) -> Stamp:
    _, stream, time = packet
    return Stamp(stream, time, time, LASTS[stream])


def place(packets, *, jumps=True) -> list[Placed]:
    return list(OneClock(jumps=jumps).place(packets, stamp_of))


def times(placed: list[Placed], stream: int) -> list[Fraction | None]:
    return [
        None if one.offset is None else one.item[2] + one.offset for one in placed if one.item[1] == stream
    ]  # fmt: skip


seconds = st.integers(100, 400).map(lambda number: Fraction(number, 100))
parts = st.lists(
    st.builds(Part, st.integers(0, 40).map(lambda number: Fraction(number * 50)), seconds, seconds,
              st.integers(0, 8).map(lambda number: Fraction(number, 10))),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(parts)
@example([Part(Fraction(0), Fraction(2), Fraction(1)), Part(Fraction(0), Fraction(1), Fraction(1))])
def test_each_part_of_a_joined_recording_keeps_its_sound_with_its_frames(recording):
    packets = [packet for number, part in enumerate(recording) for packet in part.packets(number)]
    placed = place(packets)
    assert [one.item for one in placed] == packets
    for number in range(len(recording)):
        assert len({one.offset for one in placed if one.item[0] == number}) == 1
    for stream, lasts in LASTS.items():
        begins = times(placed, stream)
        assert all(late - early >= lasts for early, late in itertools.pairwise(begins))  # nothing overlaps


@pytest.mark.parametrize("starts", [Fraction(0), Fraction(5000), Fraction(-3)])
def test_a_part_follows_the_longest_stream_before_it_at_once(starts):
    first, second = Part(Fraction(0), Fraction(3), Fraction(13, 5)), Part(starts, Fraction(3), Fraction(13, 5))
    frames = times(place(first.packets(0) + second.packets(1)), 0)
    assert frames == [number * FRAME for number in range(150)]


def film(frames_s: int = 4) -> list[tuple[int, int, Fraction]]:
    return Part(Fraction(10), Fraction(frames_s), Fraction(frames_s)).packets(0)


@pytest.mark.parametrize("jumps", [True, False], ids=["TS", "MP4"])
@pytest.mark.parametrize("wrong_s", [-5, -1, 2, 9, 50, 5000, 10**6])
@pytest.mark.parametrize("stream", [0, 1])
def test_one_wrong_time_is_forgotten_and_moves_nothing_else(stream, wrong_s, jumps):
    packets = film()
    at = next(number for number, packet in enumerate(packets) if packet[1] == stream and number > 60)
    packets[at] = (0, stream, packets[at][2] + wrong_s)
    placed = place(packets, jumps=jumps)
    assert placed[at].offset is None
    assert {one.offset for number, one in enumerate(placed) if number != at} == {0}


@pytest.mark.parametrize("stream", [0, 1])
def test_a_run_of_wrong_times_leaves_the_rest_in_place(stream):
    packets = film()
    wrong = [number for number, packet in enumerate(packets) if packet[1] == stream][30:38]
    for at in wrong:
        packets[at] = (0, stream, packets[at][2] + 100)
    placed = place(packets)
    assert {one.offset for number, one in enumerate(placed) if number not in wrong} == {0}
    assert all(late > early for early, late in itertools.pairwise(times(placed, stream)))


@pytest.mark.parametrize("gap_s", [1, 5, 30, 300])
@pytest.mark.parametrize("stream", [0, 1])
def test_a_gap_in_one_stream_stays_a_gap(stream, gap_s):
    packets = [packet for packet in film(gap_s + 4) if packet[1] != stream or not 11 < packet[2] < 11 + gap_s]
    assert {one.offset for one in place(packets)} == {0}


@pytest.mark.parametrize(("gap_s", "jumps", "left_s"), [(5, True, 5), (5, False, 5), (60, False, 60), (60, True, 0)])
def test_a_gap_in_all_streams_stays_unless_the_clock_may_jump(gap_s, jumps, left_s):
    before, after = film(), [(0, stream, time + 4 + gap_s) for _, stream, time in film()]
    frames = times(place(before + after, jumps=jumps), 0)
    step = max(late - early for early, late in itertools.pairwise(frames))
    assert left_s <= step <= left_s + 2 * FRAME


def test_a_late_stream_and_subtitles_are_left_where_they_are():
    packets = [packet for packet in film(30) if packet[1] == 0 or packet[2] > 35] + [(0, 2, Fraction(12))]

    def stamp(packet):
        return stamp_of(packet) if packet[1] < 2 else Stamp(2, packet[2], packet[2], Fraction(1), leads=False)

    assert {one.offset for one in OneClock(jumps=True).place(packets, stamp)} == {0}


def test_a_packet_that_comes_late_stays_with_its_part():
    """A parser knows that a frame is complete when the next one begins, which may be the next part's."""
    first, second = film(), [(1, stream, time) for _, stream, time in film()]
    late = first.pop(max(number for number, packet in enumerate(first) if packet[1] == 0))
    frames, sound = ([packet for packet in second if packet[1] == stream] for stream in (0, 1))
    placed = place([*first, *sound[:2], late, *frames, *sound[2:]])
    assert next(one for one in placed if one.item is late).offset == 0
    assert len({one.offset for one in placed if one.item[0] == 1}) == 1


def test_frames_shown_after_a_gap_are_not_taken_for_wrong_though_they_are_decoded_before_it():
    """x264 gives the first frames after a gap decoding times of before it."""
    shown = [number * FRAME for number in range(50)] + [20 + number * FRAME for number in (4, 2, 1, 3, 8, 6, 5, 7)]
    decoded = [-2 * FRAME, -FRAME, *sorted(shown)][: len(shown)]
    stamps = [Stamp(0, early, late, FRAME) for early, late in zip(decoded, shown, strict=True)]
    placed = list(OneClock(jumps=False).place(stamps, lambda stamp: stamp))
    assert not any(one.is_shown_wrong or one.offset for one in placed)
    wrong = [replace(stamp, shown=stamp.shown + 1000) if number == 20 else stamp for number, stamp in enumerate(stamps)]
    placed = list(OneClock(jumps=False).place(wrong, lambda stamp: stamp))
    assert [number for number, one in enumerate(placed) if one.is_shown_wrong] == [20]
