"""What the study of killed films compares."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
from pathlib import Path

import pytest

from starcast.benchmarks.studies import video_kills
from starcast.benchmarks.studies.killed_films import FILMS, content_of, draw_film
from starcast.benchmarks.studies.video_kills import Counts, KilledFilm, KillOptions, earlier_counts


@pytest.mark.parametrize("change", [{"is_uneven": True}, {"sound": "mp3"}, {"sound": None}, {}])
def test_films_are_equal_only_with_the_same_frames_times_and_sound(tmp_path, change):
    plain = FILMS["plain"]
    first = draw_film(tmp_path / "first.mp4", plain, 12)
    other = draw_film(tmp_path / "other.mp4", dataclasses.replace(plain, **change), 12)
    assert (content_of(first) == content_of(other)) is not bool(change)
    assert content_of(first) != content_of(draw_film(tmp_path / "longer.mp4", plain, 13))


def test_a_record_goes_on_only_with_the_same_code_and_options(tmp_path):
    record = tmp_path / "record.json"
    rows = [{"film": "plain", "kills": 4, "continued": 3, "finished": 2, "different": 0, "varies": 0}]
    record.write_text(json.dumps({"machine": {"sources": "a"}, "frames": 64, "films": rows}))
    assert earlier_counts(record, {"frames": 64}, "a")["plain"] == Counts(kills=4, continued=3, finished=2)
    assert earlier_counts(record, {"frames": 65}, "a")["plain"] == Counts()
    assert earlier_counts(record, {"frames": 64}, "b")["plain"] == Counts()


class Child:
    """Stands in for a translation: is killed when there is a time limit, else writes its content."""

    returncode = 0

    def __init__(self, target: Path, content: str) -> None:
        self._target, self._content = target, content

    def wait(self, timeout: float | None = None) -> None:
        if timeout is not None:
            raise subprocess.TimeoutExpired("video", timeout)
        self._target.write_text(self._content)

    def send_signal(self, number: int) -> None:
        """Dead at the next wait."""
        self.wait = lambda: None  # type: ignore[method-assign]


@pytest.mark.parametrize("after_kills", ["whole", "torn"])
def test_a_killed_video_that_comes_out_different_is_counted(tmp_path, monkeypatch, after_kills):
    monkeypatch.setattr(video_kills, "draw_film", lambda target, film, frames: target)
    monkeypatch.setattr(video_kills, "draw_image", lambda target: None)
    monkeypatch.setattr(video_kills, "content_of", Path.read_text)
    monkeypatch.setattr(KilledFilm, "_start", lambda self, target: Child(
        target, after_kills if target.parent.name == "killed" else "whole"
    ))  # fmt: skip
    counts = Counts()
    film = KilledFilm(tmp_path, tmp_path / "films", FILMS["plain"], KillOptions())
    film.kill_and_compare(3, counts, random.Random(0))
    assert counts == Counts(kills=3, finished=1, different=after_kills == "torn")
