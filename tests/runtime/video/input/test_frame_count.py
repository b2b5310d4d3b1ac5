"""The total of a progress bar counts the frames that will be made."""

from __future__ import annotations

import pytest
from PIL import Image

from starcast.runtime.video.input.frame_count import expected_frames
from starcast.runtime.video.options import VideoOptions

# of 50 frames at 25 per second
PARTS = [
    ({}, 50), ({"start": "0.4"}, 40), ({"end": "50%"}, 25), ({"start": "10f", "end": "20f"}, 10), ({"fps": "50"}, 100),
    ({"start": "1s", "fps": "12.5"}, 12), ({"start": "10s"}, 0), ({"end": "1:00"}, 50),
]  # fmt: skip


def options(changes):
    return VideoOptions(domain="dog", **changes)


@pytest.mark.parametrize(("changes", "frames"), PARTS)
def test_a_part_and_another_rate_count(make_clip, changes, frames):
    assert expected_frames(make_clip("in.mp4", frames=50), options(changes)) == frames


def test_a_sequence_is_counted_and_what_is_no_video_has_none(tmp_path):
    for number in range(10):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    assert expected_frames(tmp_path, options({"end": "5f", "fps": "10"})) == 5
    (tmp_path / "text.mp4").write_text("no video")
    assert expected_frames(tmp_path / "text.mp4", options({})) == 0
