"""An interrupted morph goes on behind its last whole segment, and comes out as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from film_content import content
from interruptions import SEGMENT
from tiny_generator import TinyGenerator, write_generator_bundle

from starcast.images.write import write_image
from starcast.runtime.translator import Translator
from starcast.runtime.video.morph import morph
from starcast.runtime.video.morph_stages import split_at_segments
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.restart.parts import folder_of
from starcast.runtime.video.timeline.style_path import Stop

FRAMES = 24 + 6  # of each film: three whole segments and a part
STEPS = {"domain": "dog", "seeds": ("1-3",), "frames_per_step": 10}
DREAM = {
    "recursion": "0 0.2; 1s 0.9", "recursion_zoom": "1.05", "recursion_rotate": "3", "duration": "3s", "fps": "10",
    "domain": "dog", "seeds": ("1-2",),
}  # fmt: skip
MORPHS = {
    "steps": ("out.mp4", STEPS),
    "a picture at rest": ("out.mkv", {**STEPS, "seeds": ("1",), "frames_per_step": 30}),
    "keys over a duration": (
        "out.webm", {"style_keys": "0 dog seed=1; 1s cat seed=2 hold; 2s wild seed=3", "duration": "3s", "fps": "10"},
    ),
    "recursion": ("out.mp4", DREAM),
    "the official layout": ("out.mp4", {"domain": "dog", "seeds": ("1-3",), "frames_per_step": 14, "official": True}),
    "an animation": ("out.gif", {**STEPS, "preset": None}),
    "numbered images": ("out/%03d.png", {**DREAM, "preset": None}),
}  # fmt: skip


def options(**changes):
    return MorphOptions(**{"preset": "superfast", "backend": "onnxruntime", "threads": 1, "batch": 3, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.png"
    write_image(path, np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    return path


@pytest.fixture
def calls(monkeypatch):
    """How many images each call of the model translated."""
    seen = []
    translate = Translator.__call__

    def count(self, images, style):
        seen.append(len(images) if images.ndim == 4 else 1)
        return translate(self, images, style)

    monkeypatch.setattr(Translator, "__call__", count)
    return seen


def shown(target: Path) -> list:
    """What a film shows; numbered images are films of one frame."""
    if "%" not in target.name:
        return content(target)
    return [content(path) for path in sorted(target.parent.glob("*.png"))]


@pytest.mark.parametrize("kind", MORPHS)
@pytest.mark.parametrize("frames", [2, 2 * SEGMENT + 1])
def test_an_interrupted_morph_equals_one_that_was_not(tiny_bundle, source, tmp_path, interrupted, kind, frames):
    name, changes = MORPHS[kind]
    whole, out = tmp_path / "whole" / name, tmp_path / name
    whole.parent.mkdir(parents=True, exist_ok=True), out.parent.mkdir(exist_ok=True)
    run = lambda target: morph(tiny_bundle, source, target, options(**changes), progress=lines.append)  # noqa: E731
    lines: list[str] = []
    total = run(whole).frames
    interrupted(frames, lambda: run(out))
    done = frames // SEGMENT * SEGMENT
    report = run(out)
    assert (report.frames, report.stored) == (total, done)
    assert shown(out) == shown(whole)
    assert any("goes on at frame 16" in line for line in lines) == (done > 0)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_a_walk_between_seeds_goes_on_too(tmp_path, interrupted):
    bundle = write_generator_bundle(tmp_path / "bundle", TinyGenerator(channels=3, height=32, width=48))
    run = lambda name: morph(  # noqa: E731
        bundle, None, tmp_path / name, options(seeds=("1-3",), frames_per_step=10), progress=lambda line: None
    )
    run("whole.mp4")
    interrupted(SEGMENT + 3, lambda: run("out.mp4"))
    assert run("out.mp4").stored == SEGMENT
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")


def test_what_is_done_is_not_translated_again(tiny_bundle, source, tmp_path, interrupted, calls):
    run = lambda: morph(  # noqa: E731
        tiny_bundle, source, tmp_path / "out.mp4", options(**DREAM), progress=lambda line: None
    )
    interrupted(2 * SEGMENT + 1, run)
    calls.clear()
    run()
    assert sum(calls) == FRAMES - 2 * SEGMENT


def test_restart_throws_away_what_is_there_and_other_styles_do_too(tiny_bundle, source, tmp_path, interrupted):
    lines: list[str] = []

    def run(**changes):
        return morph(tiny_bundle, source, tmp_path / "out.mp4", options(**STEPS | changes), progress=lines.append)

    interrupted(2 * SEGMENT + 1, run)
    interrupted(SEGMENT + 1, lambda: run(restart=True))
    assert not any("goes on at" in line for line in lines)
    assert run(seeds=("1-2", "4")).stored == 0
    assert any("starts over: what an interrupted run left was made with other options" in line for line in lines)


def test_parts_of_a_morph_that_was_killed_when_it_was_in_place_are_removed(tiny_bundle, source, tmp_path, interrupted):
    run = lambda: morph(tiny_bundle, source, tmp_path / "out.mp4", options(**STEPS), progress=str)  # noqa: E731
    parts = folder_of(tmp_path / "out.mp4")
    interrupted(SEGMENT + 1, run)
    parts.rename(tmp_path / "kept")
    run()
    (tmp_path / "kept").rename(parts)
    assert run().is_there_already
    assert not parts.exists()


def test_no_stop_goes_beyond_a_segment(short_segments):
    style = np.zeros(2, np.float32)
    parts = [(one.begin, one.end) for one in split_at_segments([Stop(style, 5), Stop(style, 20), Stop(style, 1)])]
    assert parts == [(0, 5), (5, 8), (8, 16), (16, 24), (24, 25), (25, 26)]
