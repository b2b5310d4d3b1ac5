"""The command line of `bench`, down to its record."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from measured_rows import cpu_result, measured

from starcast.benchmarks.bench import run as module
from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.result import Difference
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.cli import bench
from starcast.benchmarks.options import BenchOptions
from starcast.errors import DatasetError


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What reaches the measurement, which is not made."""
    seen = {}

    class Opened:
        def __init__(self, bundle, options, device, progress, *, quick):
            seen.update(bundle=bundle, subject=options, quick=quick)

        def __enter__(self):
            return Subject(tmp_path / "weights.pt", None, tmp_path)

        def __exit__(self, *_):
            return None

    rows = [measured("eager"), measured("ours-openvino", (0.4, 0.5, 0.5), Difference(80.0, 1))]
    monkeypatch.setattr(module, "open_subject", Opened)

    def measure(subject, options, device, **_):
        seen.update(options=options)
        return cpu_result(rows)

    monkeypatch.setattr(module, "measure_subject", measure)
    return seen


def test_a_bundle_is_all_that_has_to_be_given(asked, tmp_path):
    result = CliRunner().invoke(bench, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert asked["bundle"] == tmp_path
    assert not asked["quick"]
    assert not asked["options"].quick
    assert "ours-openvino" in result.output


def test_options_reach_the_measurement(asked):
    given = ["--config", "afhq", "--quick", "--rows", "ours-*,plain-*", "--size", "512x288", "--batch", "4"]
    result = CliRunner().invoke(bench, [*given, "--threads", "2", "--rounds", "5"])
    assert result.exit_code == 0, result.output
    options = asked["options"]
    assert (asked["subject"].config, asked["quick"], options.quick, options.rows) == (
        "afhq",
        True,
        True,
        ("ours-*", "plain-*"),
    )
    assert (options.size, options.batch, options.threads, options.rounds) == ("512x288", 4, 2, 5)


def test_the_record_says_where_the_figures_come_from_and_a_chart_lies_beside_it(asked, tmp_path):
    file = tmp_path / "new" / "bench.json"
    result = CliRunner().invoke(bench, [str(tmp_path), "--json", str(file)])
    assert result.exit_code == 0, result.output
    record = json.loads(file.read_text())
    assert set(record["machine"]) >= {"processor", "instruction_sets", "versions", "command", "load", "commit"}
    assert [row["name"] for row in record["rows"]] == ["eager", "ours-openvino"]
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("given", [["--rounds", "0"], ["--config", "celeba"], ["--batch", "none"]])
def test_values_that_cannot_work_are_refused(given):
    assert CliRunner().invoke(bench, given).exit_code != 0


def test_a_data_set_that_was_asked_for_has_to_be_there(tmp_path):
    options = BenchOptions(data=tmp_path / "gone")
    with pytest.raises(DatasetError, match="gone"):
        module.measure_subject(Subject(tmp_path / "weights.pt", None, tmp_path), options, Cpu())
