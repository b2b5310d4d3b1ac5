"""Statistics of a film: in the terminal, in its record, and in the file of --statistics."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from starcast.errors import OptionError
from starcast.runtime.queue_watch import QueueWatch
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.statistics import falls, render, statistics_of
from starcast.runtime.video.statistics_file import KIND
from starcast.runtime.video.translate import translate_video

STAGES = ("decode", "fit", "run", "encode")


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", "batch": 1, **changes})


def watched(monkeypatch, filled: dict[str, float], report: FilmReport) -> FilmReport:
    """The report with queues of 8 places that were filled so far, on average."""
    for stage, share in filled.items():
        report.queues[stage] = QueueWatch(8)
        monkeypatch.setattr(report.queues[stage], "_filled_s", 8 * share)
        monkeypatch.setattr(report.queues[stage], "_since", report.queues[stage]._start + 1)
    return report


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: clock[0] is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_batch_counts_as_so_many_frames_and_what_lies_between_counts_for_the_next(clock):
    report = FilmReport(Path("out.mp4"), dict.fromkeys(STAGES, 0.0), frames=5, wall_s=1.0)
    with report.timed("run", frames=4):
        clock[0] += 0.4
    with report.timed("encode", frames=0):  # sound
        clock[0] += 0.03
    with report.timed("encode"):
        clock[0] += 0.02
    stages = statistics_of(report)["stages"]
    assert stages["run"]["p50_ms"] == stages["run"]["p99_ms"] == pytest.approx(100, rel=0.02)
    assert stages["encode"]["p50_ms"] == pytest.approx(50, rel=0.02)
    assert report.seconds == pytest.approx({"decode": 0, "fit": 0, "run": 0.4, "encode": 0.05})


def test_percentiles_rates_and_cpu_of_a_film(clock):
    report = FilmReport(Path("out.mp4"), dict.fromkeys(STAGES, 0.0), frames=100, wall_s=10.0, cpu_s=5.0)
    for number in range(100):
        with report.timed("decode"):
            clock[0] += 0.001 if number < 94 else 0.020 if number < 98 else 0.300
    statistics = statistics_of(report, cores=2)
    assert statistics["frames_per_second"] == {"in": 10.0, "out": 10.0}
    assert statistics["cpu"] == {"cores": 2, "used": 0.25, "ms_per_frame": 50.0}
    found = [statistics["stages"]["decode"][f"p{percent}_ms"] for percent in (50, 95, 99)]
    assert found == pytest.approx([1, 20, 300], rel=0.02)


def test_items_are_timed_without_what_their_taker_does(clock):
    def items():
        for _ in range(3):
            clock[0] += 0.010
            yield 1

    report = FilmReport(Path("out.mp4"), {})
    for _ in report.timed_items("decode", items()):
        clock[0] += 5
    assert report.seconds["decode"] == pytest.approx(0.030)
    assert report.frame_s["decode"].percentile(99) == pytest.approx(0.010, rel=0.02)


@pytest.mark.parametrize(("filled", "cpu_s", "stage", "why"), [
    ({"decode": 0.9, "fit": 0.95, "run": 0.05}, 0.5, "run", "frames wait for it"),
    ({"decode": 0.0, "fit": 0.0, "run": 0.0}, 0.5, "decode", "the next stage waits for it"),
    ({"decode": 1.0, "fit": 1.0, "run": 1.0}, 0.5, "encode", "frames wait for it"),
    ({"decode": 0.6, "fit": 0.5, "run": 0.4}, 0.5, None, "the stages keep pace"),
    ({"decode": 0.6, "fit": 0.5, "run": 0.4}, 1.9, None, "all cores are busy"),
])  # fmt: skip
def test_the_stage_that_limits_has_frames_before_it_and_none_after_it(monkeypatch, filled, cpu_s, stage, why):
    report = FilmReport(Path("out.mp4"), dict.fromkeys(STAGES, 0.1), frames=100, wall_s=1.0, cpu_s=cpu_s)
    limit = statistics_of(watched(monkeypatch, filled, report), cores=2)["limit"]
    assert limit["stage"] == stage
    assert why in limit["why"]


def test_a_stage_without_a_queue_of_its_own_shares_a_thread_with_the_next(monkeypatch):
    report = FilmReport(Path("out.mp4"), {"decode": 0.1, "run": 0.2, "smooth": 0.5, "encode": 0.1}, frames=100)
    assert statistics_of(watched(monkeypatch, {"decode": 1.0, "smooth": 0.0}, report))["limit"]["stage"] == "smooth"


def test_the_drops_of_all_threads_add_up_to_one():
    assert falls([0.9, 0.2, 0.1]) == pytest.approx([0.1, 0.7, 0.1, 0.1])


def test_the_model_is_named_where_it_limits_and_the_record_and_the_file_say_so(
    make_clip, tiny_bundle, tmp_path, monkeypatch
):
    run = Translator.__call__

    def slow(self, images, style):
        time.sleep(0.01)
        return run(self, images, style)

    monkeypatch.setattr(Translator, "__call__", slow)
    clip, file, lines = make_clip("in.mp4", frames=40), tmp_path / "times.json", []
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(statistics=file), progress=lines.append)
    content = json.loads(file.read_text("utf-8"))
    [film], [record] = content["films"], read_runs(tmp_path / "out.mp4.json")
    assert content["kind"] == KIND
    assert film == {"film": str(tmp_path / "out.mp4"), **record["statistics"]}
    assert film["limit"]["stage"] == "run"
    assert film["stages"]["run"]["p50_ms"] >= 10
    assert all(film["stages"][stage]["p50_ms"] < 8 for stage in ("decode", "fit"))  # they waited, and that is no work
    assert list(film["queues"]) == ["after decode", "after fit", "after run"]
    assert "statistics" not in record["options"]
    assert set(render(film)) <= set(lines)
    assert any(line.startswith("What limits the speed: run: frames wait for it") for line in lines)


def test_a_film_that_is_made_again_replaces_its_entry_and_another_is_added(make_clip, tiny_bundle, tmp_path):
    clip, file = make_clip("in.mp4", frames=2), tmp_path / "times.json"
    for name, more in (("a.mp4", {}), ("b.mp4", {}), ("a.mp4", {"overwrite": True}), ("a.mp4", {})):
        report = translate_video(
            tiny_bundle, clip, tmp_path / name, options(statistics=file, **more), progress=lambda line: None
        )
        assert report.failed == []
    assert [film["film"] for film in json.loads(file.read_text("utf-8"))["films"]] == [
        str(tmp_path / "b.mp4"), str(tmp_path / "a.mp4")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["notes", "other JSON", "a folder", "the source", "the video", "the record"])
def test_a_file_that_holds_something_else_is_refused_before_the_work(
    make_clip, tiny_bundle, tmp_path, monkeypatch, kind
):
    clip = make_clip("in.mp4", frames=2)
    path = {"the source": clip, "the video": tmp_path / "out.mp4", "the record": tmp_path / "out.mp4.json"}.get(
        kind, tmp_path / "times.json"
    )
    if kind == "a folder":
        path.mkdir()
    elif kind in ("notes", "other JSON"):
        path.write_text("milk, bread" if kind == "notes" else '{"kind": "holiday"}')
    before = path.read_bytes() if path.is_file() else None
    monkeypatch.setattr(Translator, "__init__", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(OptionError, match="give --statistics another file"):
        translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(statistics=path), progress=lambda line: None)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not (tmp_path / "out.mp4").is_file()
