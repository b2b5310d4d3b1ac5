"""Films of aligned faces that were interrupted: squares are where they would have been, and follow the same face."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from drawn_sight import HEIGHT, WIDTH, DrawnSight, open_drawn_files, scene
from film_content import content
from interruptions import SEGMENT

from starcast.errors import OptionError
from starcast.runtime.faces import opening
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.record import read_runs
from starcast.runtime.video import align
from starcast.runtime.video.align import align_video
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.restart.parts import folder_of
from starcast.runtime.video.translate import translate_video

FRAMES = 2 * SEGMENT + 6
ODD = [0, 5, 1, 7, 2, 6, 0, 4, 3, 7, 1, 5, 2, 0, 6, 3, 7, 1, 4, 0, 5, 2]  # how far a face is off its place
GONE: tuple[()] = ()


def places(left: int) -> list[tuple[int, ...]]:
    """Where a face is that is not held still."""
    return [(left + odd,) for odd in ODD]


ONE, OTHER = places(30), places(100)
FACES = {  # by what is known of the frames before the interruption
    "a face that jitters": ONE,
    "a face that is missing around the end of a segment": ONE[: SEGMENT - 1] + [GONE] * 2 + ONE[SEGMENT + 1 :],
    "a face that comes late": [GONE] * (SEGMENT + 4) + ONE[SEGMENT + 4 :],
    "a face that goes": ONE[: SEGMENT - 2] + [GONE] * (FRAMES - SEGMENT + 2),
    "a cut at the end of a segment": ONE[:SEGMENT] + OTHER[SEGMENT:],
    "the face that was there first": OTHER[:5] + [one + other for one, other in zip(ONE, OTHER, strict=True)][5:],
}


@pytest.fixture(autouse=True)
def drawn_sight(monkeypatch):
    for module in (opening, align):
        monkeypatch.setattr(module, "open_face_files", open_drawn_files)


@pytest.fixture
def make(make_clip):
    """make(kind, rate): the path of a film of such faces, before colours that are nowhere the same."""

    def film(kind: str, rate: int = 25):
        frames = [scene(*lefts) for lefts in FACES[kind]]
        for frame in frames:
            frame[..., 1] = np.linspace(40, 200, WIDTH)
            frame[..., 2] = np.linspace(40, 200, HEIGHT)[:, None]
        return make_clip(
            "in.mp4", frames=FRAMES, width=WIDTH, height=HEIGHT, images=frames, rate=Fraction(rate), sounds=("aac",)
        )

    return film


@pytest.fixture
def searches(monkeypatch):
    """The images in which faces were searched."""
    seen: list[Any] = []
    find = DrawnSight.find
    monkeypatch.setattr(DrawnSight, "find", lambda self, image, **how: seen.append(image) or find(self, image, **how))
    return seen


def align_options(**changes: Any) -> AlignOptions:
    # this preset of x264 gives the same bytes also for frames of fewer than 128 pixels
    return AlignOptions(**{"preset": "superfast", "size": 64, **changes})


def compare(run, tmp_path, interrupted, frames):
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    expected = run(whole)
    interrupted(frames, lambda: run(out))
    report = run(out)
    assert (report.frames, report.stored) == (FRAMES, frames // SEGMENT * SEGMENT)
    assert (report.faceless, report.failed) == (expected.faceless, expected.failed)
    counts = [read_runs(path.with_name(f"{path.name}.json"))[-1]["counts"] for path in (out, whole)]
    assert counts[0] == counts[1]
    assert content(out) == content(whole)
    assert not folder_of(out).exists()


@pytest.mark.parametrize(("kind", "frames", "rate", "changes"), [
    ("a face that jitters", SEGMENT, 25, {}), ("a face that jitters", SEGMENT, 25, {"steady": False}),
    ("a face that jitters", SEGMENT + 1, 60, {}),  # twelve frames wait, more than a segment has
    ("a face that jitters", 2 * SEGMENT + 1, 25, {"layout": "side-by-side"}),
    ("a face that is missing around the end of a segment", SEGMENT, 25, {}),
    ("a face that comes late", SEGMENT, 25, {}), ("a face that goes", SEGMENT, 25, {}),
    ("a cut at the end of a segment", SEGMENT, 25, {}),
    ("the face that was there first", SEGMENT, 25, {}),
    ("the face that was there first", SEGMENT, 25, {"steady": False}),
    ("the face that was there first", 2 * SEGMENT, 25, {"faces": "all"}),
])  # fmt: skip
def test_faces_are_put_back_as_in_an_uninterrupted_run(
    make, tiny_bundle, tmp_path, interrupted, kind, frames, rate, changes
):
    source = make(kind, rate)
    options = VideoOptions(
        domain="dog", seed=3, preset="superfast", backend="onnxruntime", batch=3, align=True, **changes
    )
    compare(
        lambda target: translate_video(tiny_bundle, source, target, options, progress=str),
        tmp_path,
        interrupted,
        frames,
    )


@pytest.mark.parametrize(("kind", "frames", "changes"), [
    ("a face that jitters", SEGMENT, {}), ("a face that jitters", 2 * SEGMENT, {"steady": False}),
    ("a face that is missing around the end of a segment", SEGMENT, {}), ("a face that comes late", SEGMENT, {}),
    ("a face that goes", SEGMENT, {"steady": False}), ("a face that goes", 2 * SEGMENT, {}),
    ("the face that was there first", SEGMENT, {}),
])  # fmt: skip
def test_squares_of_a_video_are_those_of_an_uninterrupted_run(make, tmp_path, interrupted, kind, frames, changes):
    source, options = make(kind), align_options(**changes)
    compare(lambda target: align_video(source, target, options, progress=str), tmp_path, interrupted, frames)


def test_faces_of_frames_that_are_done_are_not_searched_again(make, tmp_path, interrupted, searches):
    source = make("a face that jitters")
    run = lambda: align_video(source, tmp_path / "out.mp4", align_options(steady=False), progress=str)  # noqa: E731
    interrupted(SEGMENT + 1, run)
    searches.clear()
    run()
    assert len(searches) == FRAMES - SEGMENT


def test_restart_aligns_every_frame_again(make, tmp_path, interrupted):
    source = make("a face that jitters")
    run = lambda **how: align_video(source, tmp_path / "out.mp4", align_options(**how), progress=str)  # noqa: E731
    interrupted(SEGMENT + 1, run)
    assert run(restart=True).stored == 0
    assert run().is_there_already  # it is no other film


def test_parts_of_an_aligned_video_that_was_killed_when_it_was_in_place_are_removed(make, tmp_path, interrupted):
    source, target = make("a face that jitters"), tmp_path / "out.mp4"
    run = lambda: align_video(source, target, align_options(), progress=str)  # noqa: E731
    interrupted(SEGMENT + 1, run)
    folder_of(target).rename(tmp_path / "kept")
    run()
    (tmp_path / "kept").rename(folder_of(target))
    assert run().is_there_already
    assert not folder_of(target).exists()


def test_restart_is_for_videos(tmp_path):
    with pytest.raises(OptionError, match="--restart is for videos, and the output is not a video: leave it out"):
        align_options(output=tmp_path / "faces", preset=None, restart=True)
