"""The study of auto's choice."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from starcast.benchmarks.studies import engine_choice
from starcast.benchmarks.studies.engine_choice import Setup, VideoPace, figures, list_setups
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.registry import ENGINES


def test_every_engine_runs_on_all_threads_on_half_and_on_its_choice_and_auto_is_last(tiny_bundle):
    setups = list_setups(open_bundle(tiny_bundle), threads=4)
    assert setups[-1] == Setup(engine="auto", threads=None)
    assert [setup.name for setup in setups if setup.engine == "onnxruntime"] == [
        "onnxruntime on 4", "onnxruntime on 2", "onnxruntime",
    ]  # fmt: skip


def test_one_thread_is_not_halved(tiny_bundle):
    assert {setup.threads for setup in list_setups(open_bundle(tiny_bundle), threads=1)} == {1, None}


def test_a_setup_is_compared_with_auto_within_a_round():
    paces = {
        "a on 2": [VideoPace(frames_per_second=50, engine_ms=8), VideoPace(frames_per_second=30, engine_ms=9)],
        "auto": [
            VideoPace(frames_per_second=100, engine_ms=4, chose="b (1 thread)"),
            VideoPace(frames_per_second=20, engine_ms=5, chose="a"),
        ],
    }
    slow, auto = figures(paces)
    assert slow["times_as_fast_as_auto"] == {"median": 1.0, "least": 0.5, "greatest": 1.5}
    assert slow["median_frames_per_second"] == 40
    assert auto["chose"] == ["b (1 thread)", "a"]


def test_the_record_holds_every_setups_figures_and_what_auto_chose(tiny_bundle, tmp_path, monkeypatch):
    few = [Setup(engine="onnxruntime", threads=2), Setup(engine="auto", threads=None)]
    monkeypatch.setattr(engine_choice, "list_setups", lambda bundle, threads: few)
    record = tmp_path / "choice.json"
    arguments = [str(tiny_bundle), "--rounds", "1", "--seconds", "1", "-o", str(record)]
    result = CliRunner().invoke(engine_choice.study, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads(record.read_text())["rows"]
    assert [row["setup"] for row in rows] == ["onnxruntime on 2", "auto"]
    assert rows[-1]["chose"][0].split()[0] in ENGINES
    assert all(row["median_frames_per_second"] > 0 for row in rows)


def test_a_failing_process_raises_with_its_reason(tiny_bundle, tmp_path):
    with pytest.raises(Exception, match=r"no-film\.mp4"):
        engine_choice.translate_apart(tiny_bundle, tmp_path / "no-film.mp4", "cat", Setup(engine="auto", threads=1))
