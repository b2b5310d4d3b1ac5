"""What stages remember travels on the last frame of a segment."""

from __future__ import annotations

import numpy as np

from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.restart.memory import remember, restore
from starcast.runtime.video.restart.segments import SEGMENT_FRAMES, end_segments

BLACK = np.zeros((2, 2, 3), np.uint8)


class Sum:
    def __init__(self):
        self.total = 0

    def state(self):
        return {"total": np.array(self.total)}

    def restore(self, state):
        self.total = int(state["total"])


def film(frames):
    return [RgbFrame(BLACK, number, 1) for number in range(frames)]


def test_segments_end_after_the_same_frames_wherever_a_film_begins():
    ends = [frame.pts for frame in end_segments(film(600)) if frame.ends_segment]
    assert ends == [SEGMENT_FRAMES - 1, 2 * SEGMENT_FRAMES - 1]
    rest = film(600)[SEGMENT_FRAMES:]
    assert [frame.pts for frame in end_segments(rest, SEGMENT_FRAMES) if frame.ends_segment] == ends[1:]


def test_only_the_last_frame_of_a_segment_takes_states_along_and_each_stage_gets_its_own():
    first, second = Sum(), Sum()
    frames = []
    for frame in end_segments(film(SEGMENT_FRAMES + 1)):
        first.total += 1
        second.total += 2
        frames.append(remember(remember(frame, "first", first), "second", second))
    assert [frame.pts for frame in frames if frame.state] == [SEGMENT_FRAMES - 1]
    restored = {"first": Sum(), "second": Sum()}
    restore(restored, frames[SEGMENT_FRAMES - 1].state)
    assert [memory.total for memory in restored.values()] == [SEGMENT_FRAMES, 2 * SEGMENT_FRAMES]
