"""An interrupted film goes on behind its last whole segment, and comes out as if it had never stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from film_content import content
from interruptions import SEGMENT

from starcast.errors import OptionError, VideoError
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.restart.parts import folder_of
from starcast.runtime.video.translate import translate_video

NINETY = Fraction(1, 90000)


pytestmark = pytest.mark.usefixtures("short_segments")

# has B-frames, and, unlike slower presets, x264 always gives the same bytes for frames of fewer than 128 pixels
PRESET = "superfast"


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": PRESET, "backend": "onnxruntime", **changes})


def noisy(frames: int, seed: int = 0) -> list[np.ndarray]:
    """Frames that move, so that encoders reorder them."""
    start = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return [np.roll(start, 2 * number, axis=1) for number in range(frames)]


FILMS = {
    "constant rate, AAC": ("in.mp4", "out.mp4", {"frames": 37, "sounds": ("aac",)}),
    "variable rate, encoded sound": (
        "in.mkv", "out.mp4", {
            "frames": 30, "sounds": ("pcm_s16le", "mp3"), "time_base": NINETY,
            "pts": [number * 3600 + (number * number * 37) % 1700 for number in range(30)],
        },
    ),
    "times closer than a millisecond": (
        "in.mp4", "out.mov", {"frames": 24, "time_base": NINETY, "pts": [number * 7 for number in range(24)]},
    ),
    "whole segments only": ("in.mp4", "out.mkv", {"frames": 2 * SEGMENT, "sounds": ("mp3",)}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "frames"), [
    ("constant rate, AAC", 1), ("constant rate, AAC", 2 * SEGMENT + 1), ("variable rate, encoded sound", SEGMENT + 1),
    ("times closer than a millisecond", SEGMENT), ("whole segments only", 2 * SEGMENT),
])  # fmt: skip
def test_an_interrupted_film_equals_one_that_was_not(make_clip, tiny_bundle, tmp_path, interrupted, kind, frames):
    name, target, clip = FILMS[kind]
    source = make_clip(name, images=noisy(clip["frames"]), **clip)
    whole, out = tmp_path / f"whole-{target}", tmp_path / target
    translate_video(tiny_bundle, source, whole, options(batch=3), progress=lambda line: None)
    lines = []

    def run():
        return translate_video(tiny_bundle, source, out, options(batch=3), progress=lines.append)

    interrupted(frames, run)
    assert not out.exists()
    done = frames // SEGMENT * SEGMENT
    assert folder_of(out).exists() == (done > 0)
    report = run()
    assert content(out) == content(whole)
    assert (report.frames, report.stored) == (clip["frames"], done)
    assert [line for line in lines if "goes on at frame" in line] == [
        f"{out} goes on at frame {done}: the frames before it are there from an earlier run"
    ] * (done > 0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_film_may_be_interrupted_again_and_again(make_clip, tiny_bundle, tmp_path, interrupted):
    source = make_clip("in.mp4", frames=45, images=noisy(45), sounds=("aac",))
    run = lambda target: translate_video(tiny_bundle, source, target, options(), progress=lambda line: None)  # noqa: E731
    run(tmp_path / "whole.mp4")
    for frames in (9, 3, 10, 8):
        interrupted(frames, lambda: run(tmp_path / "out.mp4"))
    assert run(tmp_path / "out.mp4").stored == 3 * SEGMENT
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")


@pytest.fixture
def half_done(make_clip, tiny_bundle, tmp_path, interrupted):
    """A film of 30 frames of which three segments are done; call it to give the command again."""
    source = make_clip("in.mp4", frames=30, images=noisy(30))

    def run(progress=lambda line: None, **changes):
        return translate_video(tiny_bundle, source, tmp_path / "out.mp4", options(**changes), progress=progress)

    interrupted(3 * SEGMENT + 2, run)
    return run


def test_a_torn_line_of_the_journal_does_not_count(half_done, tmp_path):
    journal = folder_of(tmp_path / "out.mp4") / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert half_done().stored == 2 * SEGMENT


def test_a_damaged_segment_is_made_again_and_those_behind_it(half_done, tmp_path):
    (segment,) = folder_of(tmp_path / "out.mp4").glob("000001.*")
    damaged = bytearray(segment.read_bytes())
    damaged[-1] ^= 1
    segment.write_bytes(damaged)
    assert half_done().stored == SEGMENT


def test_segments_of_another_command_are_not_used_and_a_line_says_so(half_done, tmp_path):
    lines = []
    assert half_done(lines.append, psi=0.5).stored == 0
    (line,) = (line for line in lines if "starts over" in line)
    assert line == f"{tmp_path / 'out.mp4'} starts over: what an interrupted run left was made with other options"


def test_segments_of_another_source_are_not_used(half_done, make_clip, tmp_path):
    make_clip("in.mp4", frames=30, images=noisy(30, seed=1))
    lines = []
    assert half_done(lines.append).stored == 0
    assert [line for line in lines if "was made from another source" in line]


def test_restart_throws_away_what_is_there(half_done):
    assert half_done(restart=True).stored == 0


def test_an_interrupted_film_says_how_it_goes_on(make_clip, tiny_bundle, tmp_path, interrupted):
    source, lines = make_clip("in.mp4", frames=20), []
    interrupted(
        12, lambda: translate_video(tiny_bundle, source, tmp_path / "out.mp4", options(), progress=lines.append)
    )
    assert lines[-1] == (
        f"{tmp_path / 'out.mp4'}: {SEGMENT} frames are done and stay; the same command goes on from there"
    )


def test_parts_of_a_film_that_was_killed_when_it_was_in_place_are_removed(half_done, tmp_path):
    folder = folder_of(tmp_path / "out.mp4")
    shutil.copytree(folder, tmp_path / "parts")
    half_done()
    shutil.copytree(tmp_path / "parts", folder)
    assert half_done().is_there_already
    assert not folder.exists()


def test_a_strangers_folder_is_in_the_way_before_the_work_and_stays(make_clip, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("starcast.runtime.translator.Translator.__init__", lambda *a, **k: pytest.fail("worked"))
    folder = folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "000000.nut").write_text("mine")
    with pytest.raises(OptionError, match=r"starcast-parts is in the way of the video's parts \(not written by"):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(restart=True, overwrite=True))
    assert (folder / "000000.nut").read_text() == "mine"


def test_what_is_not_ours_among_the_parts_stays(half_done, tmp_path):
    stranger = folder_of(tmp_path / "out.mp4") / ".DS_Store"
    stranger.write_text("mine")
    assert half_done().stored == 3 * SEGMENT
    assert [path.name for path in stranger.parent.iterdir()] == [stranger.name]


def test_a_full_disk_keeps_the_segments_and_the_same_command_goes_on(make_clip, tiny_bundle, tmp_path):
    resource = pytest.importorskip("resource", reason="file size limits are a matter of Unix")
    source = make_clip("in.mp4", frames=40, images=noisy(40), sounds=("aac",))
    run = lambda target: translate_video(tiny_bundle, source, target, options(crf=0), progress=lambda line: None)  # noqa: E731
    run(tmp_path / "whole.mp4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole.mp4").stat().st_size // 2, before[1]))
    try:
        with pytest.raises(VideoError, match=r"out\.mp4 cannot be written \(file too large\): free some disk space"):
            run(tmp_path / "out.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out.mp4").exists()
    assert run(tmp_path / "out.mp4").stored >= SEGMENT
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")


KILLED = """
import sys
from starcast.runtime.video.restart import segments
segments.SEGMENT_FRAMES = 8
from starcast.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a matter of Unix")
def test_a_killed_process_leaves_what_the_next_one_goes_on_with(make_clip, tiny_bundle, tmp_path):
    source = make_clip("in.mp4", frames=400, images=noisy(400), sounds=("aac",))
    arguments = [
        "video", str(tiny_bundle), str(source), "-o", "out.mp4", "--domain", "dog", "--seed", "3", "--preset",
        PRESET, "--backend", "onnxruntime",
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL)
    journal = folder_of(tmp_path / "out.mp4") / "journal.jsonl"
    until = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2) and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.mp4").exists()
    report = translate_video(tiny_bundle, source, tmp_path / "out.mp4", options(), progress=lambda line: None)
    assert report.stored >= 2 * SEGMENT
    translate_video(tiny_bundle, source, tmp_path / "whole.mp4", options(), progress=lambda line: None)
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
