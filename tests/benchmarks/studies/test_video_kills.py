"""What the study of killed films compares."""

from __future__ import annotations

import dataclasses

import pytest

from starcast.benchmarks.studies.video_kills import FILMS, content_of, draw_film


@pytest.mark.parametrize("change", [{"is_uneven": True}, {"sound": "mp3"}, {"sound": None}, {}])
def test_films_are_equal_only_with_the_same_frames_times_and_sound(tmp_path, change):
    plain = FILMS["plain"]
    first = draw_film(tmp_path / "first.mp4", plain, 12)
    other = draw_film(tmp_path / "other.mp4", dataclasses.replace(plain, **change), 12)
    assert (content_of(first) == content_of(other)) is not bool(change)
    assert content_of(first) != content_of(draw_film(tmp_path / "longer.mp4", plain, 13))
