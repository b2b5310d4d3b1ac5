"""Several videos by one command: folders, lists and patterns; what fails, what is there, and what stops all of them."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from starcast.errors import EngineError, OptionError, VideoError
from starcast.images.write import write_image
from starcast.runtime.progress import TotalBar
from starcast.runtime.translator import Translator
from starcast.runtime.video import film_maker
from starcast.runtime.video.many.many_films import State
from starcast.runtime.video.many.translate_many import is_file_name, translate_videos
from starcast.runtime.video.options import VideoOptions

FAST = VideoOptions(domain="dog", seed=3, preset="ultrafast")


@pytest.fixture
def translate(tiny_bundle):
    """translate(sources, out, …): the report and the lines that a user saw."""

    def run(*sources, out, options=FAST):
        lines = []
        report = translate_videos(
            tiny_bundle, [Path(source) for source in sources], str(out), options, progress=lines.append
        )
        return report, lines

    return run


@pytest.fixture
def count_engines(monkeypatch):
    """How often an engine is opened, as a list that grows."""
    opened, begin = [], Translator.__init__

    def count(self, *arguments, **settings):
        opened.append(self)
        begin(self, *arguments, **settings)

    monkeypatch.setattr(Translator, "__init__", count)
    return opened


def states(report):
    return [outcome.state for outcome in report.outcomes]


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix == ".mp4")


def test_a_folder_is_translated_with_one_engine_and_keeps_its_layout(
    make_clip, watch, tiny_bundle, tmp_path, translate, count_engines, monkeypatch
):
    clips, out = tmp_path / "clips", tmp_path / "clips" / "out"
    for name in ("clips/b.mkv", "clips/deep/a.mov", "clips/deep/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(name, frames=3)
    write_image(clips / "photo.png", np.zeros((8, 8, 3), np.uint8))
    write_image(tmp_path / "rex.png", np.full((32, 32, 3), 90, np.uint8))
    (clips / "deep" / "empty.mp4").write_bytes(b"")
    made, style = [], Translator.style
    monkeypatch.setattr(Translator, "style", lambda *a, **k: made.append(k) or style(*a, **k))
    options = VideoOptions(domain="dog", ref=tmp_path / "rex.png", preset="ultrafast")
    report, lines = translate(clips, out=out, options=options)
    assert written(out) == ["b.mp4", "deep/a.mov.mp4", "deep/a.mp4.mp4"]
    assert len(watch(out / "deep/a.mov.mp4").times) == 3
    assert (len(count_engines), len(made)) == (1, 1)
    assert states(report) == [State.DONE, State.DONE, State.DONE, State.FAILED]
    assert f"{clips / 'photo.png'} is not a video: skipped" in lines
    assert lines[-2:] == ["Failed (1):", f"  {clips / 'deep' / 'empty.mp4'} is empty (0 bytes): copy it again"]
    assert report.summary().startswith("3 videos translated, 0 there already, 1 failed. 9 frames, ")
    again, _ = translate(clips, out=out, options=options)
    assert states(again) == [State.THERE, State.THERE, State.THERE, State.FAILED]
    assert len(count_engines) == 1


def test_what_starcast_made_is_no_source_and_what_it_aligned_is(make_clip, tiny_bundle, tmp_path, translate):
    (tmp_path / "in").mkdir()
    make_clip("in/a.mp4", frames=2)
    translate(tmp_path / "in", out=tmp_path / "in" / "dogs")
    (tmp_path / "in" / "dogs" / "a.mp4.json").unlink()  # the mark alone tells
    shutil.copy(tmp_path / "in/dogs/a.mp4", tmp_path / "in/renamed.mp4")
    make_clip("in/face.mp4", frames=2)
    (tmp_path / "in/face.mp4.json").write_text('{"format": 1, "runs": [{"bundle": null, "starcast": "1"}]}')
    report, lines = translate(
        tmp_path / "in", out=tmp_path / "in" / "cats", options=VideoOptions(domain="cat", preset="ultrafast")
    )
    assert [outcome.task.source.name for outcome in report.outcomes] == ["a.mp4", "face.mp4"]
    assert any("dogs/a.mp4 and 1 more are translations that starcast made: skipped" in line for line in lines)


def test_lists_patterns_and_files_may_be_mixed_and_count_once(make_clip, tmp_path, translate):
    for name in ("a.mp4", "b.mkv", "c.mp4"):
        make_clip(name, frames=2)
    (tmp_path / "all.txt").write_text("b.mkv\na.mp4\n")
    report, _ = translate(tmp_path / "all.txt", tmp_path / "*.mp4", tmp_path / "c.mp4", out=tmp_path / "out")
    assert [outcome.task.source.name for outcome in report.outcomes] == ["b.mkv", "a.mp4", "c.mp4"]


def test_one_film_in_a_folder_may_go_to_a_file_and_several_may_not(make_clip, tmp_path, translate):
    (tmp_path / "in").mkdir()
    make_clip("in/a.mp4", frames=2)
    report, _ = translate(tmp_path / "in", out=tmp_path / "dog.mov")
    assert (report.target, report.frames) == (tmp_path / "dog.mov", 2)
    make_clip("in/b.mp4", frames=2)
    with pytest.raises(
        OptionError, match=r"cat\.mov is one video, but 2 would be written: give -o the name of a folder"
    ):
        translate(tmp_path / "in", out=tmp_path / "cat.mov")


@pytest.mark.parametrize(
    ("output", "is_file"),
    [("a.mp4", True), ("a.webm", True), ("a.gif", True), ("a", False), ("a.b", False), ("a.mp4/", False)],
)
def test_an_output_is_a_file_by_its_suffix(tmp_path, monkeypatch, output, is_file):
    monkeypatch.chdir(tmp_path)
    assert is_file_name(output) is is_file
    (tmp_path / "x.mp4").mkdir()
    assert not is_file_name("x.mp4")


def test_what_is_in_the_way_is_refused_before_the_first_film(make_clip, tmp_path, translate, count_engines):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2), make_clip("c.mp4", frames=2)
    (tmp_path / "out").mkdir()
    for name in ("b.mp4", "c.mp4"):
        (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"out.b\.mp4 already exists, not written by starcast \(the first of 2\)"):
        translate(tmp_path / "*.mp4", out=tmp_path / "out")
    assert (count_engines, written(tmp_path / "out")) == ([], ["b.mp4", "c.mp4"])
    translate(tmp_path / "a.mp4", tmp_path / "missing.mp4", out=tmp_path / "other")
    with pytest.raises(OptionError, match=r"a\.mp4 already exists, made with a different bundle, style or options"):
        translate(tmp_path / "a.mp4", tmp_path / "b.mp4", out=tmp_path / "other", options=VideoOptions(domain="cat"))


def test_a_source_is_never_the_output(make_clip, tmp_path, translate):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2)
    with pytest.raises(OptionError, match="is a source as well as the output"):
        translate(tmp_path, out=tmp_path)
    overwrite = VideoOptions(domain="dog", overwrite=True)
    with pytest.raises(OptionError, match=r"a\.mp4 is (the|a) source"):
        translate(tmp_path / "a.mp4", tmp_path / "b.mp4", out=tmp_path, options=overwrite)


def test_ctrl_c_says_how_many_are_done_and_the_same_command_goes_on(
    make_clip, tiny_bundle, tmp_path, translate, monkeypatch
):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(name, frames=2)
    lines, write = [], film_maker.write_film

    def stop_at_b(source, *arguments):
        if source.name.endswith("b.mp4"):
            raise KeyboardInterrupt
        return write(source, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(film_maker, "write_film", stop_at_b)
        with pytest.raises(KeyboardInterrupt):
            translate_videos(tiny_bundle, [tmp_path / "*.mp4"], str(tmp_path / "out"), FAST, progress=lines.append)
    assert lines[-1] == "1 of 3 videos are done: run the same command again to go on"
    assert written(tmp_path / "out") == ["a.mp4"]
    report, _ = translate(tmp_path / "*.mp4", out=tmp_path / "out")
    assert states(report) == [State.THERE, State.DONE, State.DONE]


def test_an_interrupted_overwrite_goes_on_and_a_finished_one_starts_again(make_clip, tmp_path, translate, monkeypatch):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(name, frames=2)
    clips, out = tmp_path / "*.mp4", tmp_path / "out"
    overwrite = replace(FAST, overwrite=True)
    translate(clips, out=out)
    write = film_maker.write_film

    def stop_at_c(source, *arguments):
        if source.name.endswith("c.mp4"):
            raise KeyboardInterrupt
        return write(source, *arguments)

    def interrupt():
        with monkeypatch.context() as patch:
            patch.setattr(film_maker, "write_film", stop_at_c)
            with pytest.raises(KeyboardInterrupt):
                translate(clips, out=out, options=overwrite)

    def made_again(options):
        return [state is State.DONE for state in states(translate(clips, out=out, options=options)[0])]

    interrupt()
    assert made_again(replace(overwrite, batch=1)) == [True, True, True]  # another command
    interrupt()
    shutil.copy(tmp_path / "a.mp4", out / "b.mp4")  # of somebody else, since then
    make_clip("a.mp4", frames=3)
    assert made_again(overwrite) == [True, True, True]
    interrupt()
    assert made_again(replace(overwrite, restart=True)) == [True, True, True]
    interrupt()
    assert made_again(overwrite) == [False, False, True]
    assert made_again(overwrite) == [True, True, True]
    assert not list(out.glob(".*"))


def test_a_film_whose_source_was_edited_is_made_again_and_another_source_is_refused(
    make_clip, tmp_path, translate, watch
):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2)
    out, sources = tmp_path / "out", [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    translate(*sources, out=out)
    make_clip("b.mp4", frames=3)
    report, lines = translate(*sources, out=out)
    assert (states(report), len(watch(out / "b.mp4").times)) == ([State.THERE, State.DONE], 3)
    assert f"{tmp_path / 'b.mp4'} was edited since b.mp4 was made: it is made again" in lines
    (tmp_path / "other").mkdir()
    make_clip("other/b.mp4", frames=4)
    report, _ = translate(sources[0], tmp_path / "other" / "b.mp4", out=out)
    assert states(report) == [State.THERE, State.FAILED]
    assert "b.mp4 already exists: choose another -o, or give --overwrite" in report.failed[0]


def test_no_empty_folder_stays_of_films_that_were_not_made(make_clip, tmp_path, translate, monkeypatch):
    for name in ("in/deep/a.mp4", "in/flat.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(name, frames=2)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Translator, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            translate(tmp_path / "in", out=tmp_path / "out", options=replace(FAST, overwrite=True))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["starcast.html"]


def test_an_engine_that_does_not_open_ends_the_command_with_its_reason(make_clip, tmp_path, translate, monkeypatch):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2)

    def refuse(*arguments, **settings):
        raise EngineError("no engine here")

    monkeypatch.setattr(Translator, "__init__", refuse)
    with pytest.raises(EngineError, match="no engine here"):
        translate(tmp_path / "*.mp4", out=tmp_path / "out")


def test_an_engine_that_fails_in_one_film_is_opened_again_for_the_next(
    make_clip, tmp_path, translate, count_engines, monkeypatch
):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2)
    failures, call = [EngineError("out of memory")], Translator.__call__

    def fail_once(self, *arguments, **settings):
        if failures and len(count_engines) == 1:
            raise failures.pop()
        return call(self, *arguments, **settings)

    monkeypatch.setattr(Translator, "__call__", fail_once)
    report, lines = translate(tmp_path / "*.mp4", out=tmp_path / "out")
    assert (states(report), len(count_engines)) == ([State.FAILED, State.DONE], 2)
    assert lines[-1] == f"  {tmp_path / 'a.mp4'}: out of memory"


def test_a_full_disk_stops_all_films(make_clip, tmp_path, translate, monkeypatch):
    make_clip("a.mp4", frames=2), make_clip("b.mp4", frames=2)
    tried = []

    def refuse(source, *arguments):
        tried.append(source.name)
        raise VideoError("out.mp4 cannot be written (no space left on device)") from OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(film_maker, "write_film", refuse)
    with pytest.raises(VideoError, match="no space left"):
        translate(tmp_path / "*.mp4", out=tmp_path / "out")
    assert len(tried) == 1


def test_a_note_that_many_films_share_is_said_once(make_clip, tmp_path, translate):
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        make_clip(name, frames=2, sounds=("pcm_s16le",))
    _, lines = translate(tmp_path / "*.mkv", out=tmp_path / "out")
    [line] = [line for line in lines if "AAC" in line]
    assert line.endswith(" (2 more: the same)")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_a_folder_is_not_opened(make_clip, tmp_path, translate):
    (tmp_path / "in").mkdir()
    make_clip("in/a.mp4", frames=2)
    os.mkfifo(tmp_path / "in" / "b.gif")
    os.mkfifo(tmp_path / "in" / "c")
    report, _ = translate(tmp_path / "in", out=tmp_path / "out")
    assert states(report) == [State.DONE]


def test_the_total_counts_unknown_parts_as_average_ones_and_skipped_ones_as_none(monkeypatch):
    lines, now = [], [1000.0]
    monkeypatch.setattr("starcast.runtime.progress.time.monotonic", lambda: now[0])
    bar = TotalBar([10, 0, 30, 50], "frames", "video", show=True, progress=lines.append)

    def advance(part, count):
        now[0] += 20
        part.advance(count)
        return lines[-1]

    bar.skip(3)
    with bar.part(0, "a.mp4", 10, lines.append) as part:
        assert advance(part, 10) == "video 1/4 a.mp4: 10 of 60 frames"  # 10 + 20 + 30
    with bar.part(1, "b.mp4", 0, lines.append) as part:
        assert advance(part, 10) == "video 2/4 b.mp4: 20 of 60 frames, 0:01:20 left"  # 20 s for 10 frames
    with bar.part(2, "c.mp4", 30, lines.append) as part:
        assert advance(part, 10) == "video 3/4 c.mp4: 30 of 50 frames, 0:00:40 left"  # b.mp4 had only 10
    bar.advance(30)
    assert lines[-1] == "video 3/4 c.mp4: 30 of 50 frames, 0:00:40 left"  # not yet 15 s later
    now[0] += 20
    bar.advance(0)
    assert lines[-1] == "video 3/4 c.mp4: 60 frames"  # more than expected
