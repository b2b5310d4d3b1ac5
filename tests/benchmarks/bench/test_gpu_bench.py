"""A bench on a card, with the processor in its place, from the options to the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from measured_rows import row
from stand_in_card import SHORT, card_table, on_card

from starcast.benchmarks.bench import gpu_bench as module
from starcast.benchmarks.bench import run as bench_module
from starcast.benchmarks.bench import subject as subject_module
from starcast.benchmarks.bench.gpu_bench import batches_of, longest_last, measured_on_card, prepared_rows, throughput
from starcast.benchmarks.bench.gpu_table import card_record
from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.measure import Measurement
from starcast.benchmarks.bench.rows import LeftOut
from starcast.benchmarks.bench.subject import Subject, opened_subject
from starcast.benchmarks.bench.table import judged
from starcast.benchmarks.cli import bench
from starcast.benchmarks.options import BenchOptions
from starcast.errors import OptionError
from starcast.runtime.bundle import open_bundle
from starcast.train.families.stargan_v2.networks import StarGANv2Config

SMALL = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
)
DRAWS = np.random.default_rng(0)


@pytest.fixture
def subject(tiny_bundle, tmp_path):
    return Subject(tmp_path / "weights.pt", open_bundle(tiny_bundle), tmp_path)


def test_without_a_card_a_card_is_refused_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(bench, ["--device", "cuda", str(tmp_path)])
    assert isinstance(result.exception, OptionError)
    assert result.exception.exit_status == 2
    assert "--device cuda needs an NVIDIA card" in str(result.exception)


def test_the_card_is_chosen_where_there_is_one_unless_the_processor_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [bench_module.device_of(name) for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_module.device_of("auto") == "cpu"


def test_a_cards_table_record_and_chart_are_written(monkeypatch, tmp_path):
    class Opened:
        def __init__(self, *_, device):
            assert device == "cuda"

        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bench_module, "opened_subject", Opened)
    file = tmp_path / "bench.json"

    def measured(*_: Any, keep: Any, **__: Any) -> Any:
        keep(card_table())
        assert '"bars"' in file.read_text()  # it is written as it goes
        return card_table()

    monkeypatch.setattr(module, "measured_on_card", measured)
    result = CliRunner().invoke(bench, [str(tmp_path), "--device", "cuda", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "images/s at a batch of" in result.output
    assert '"of_copy_bandwidth"' in file.read_text()
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_batches_are_whole_numbers_in_order():
    assert batches_of(BenchOptions()) == (1, 2, 4, 8, 16, 32, 64)
    assert batches_of(BenchOptions(batches=("8", "2", "8"))) == (2, 8)
    assert batches_of(BenchOptions(quick=True)) == (1, 16)
    assert batches_of(BenchOptions(quick=True, batches=("2", "3"))) == (2,)
    for wrong in ("0", "many", "-1", "1.5"):
        with pytest.raises(OptionError, match="--batches"):
            batches_of(BenchOptions(batches=("1", wrong)))


def test_rows_that_do_not_run_here_are_told_with_those_that_were_asked_for(subject, monkeypatch):
    gone = {"ours-tensorrt": LeftOut(name="TensorRT", reason="not run: absent")}
    monkeypatch.setattr(module, "card_rows", lambda *_, **__: ({"ours-torch": row("ours-torch")}, dict(gone)))
    monkeypatch.setattr(module, "peer_not_run", lambda key: "not run: none" if key == "plain-cuda" else None)
    rows, left_out = prepared_rows(subject, (32, 32), BenchOptions(rows=("ours-*",)), SHORT)
    assert [one.key for one in rows] == ["eager", "ours-torch"]
    assert [out.name for out in left_out] == ["TensorRT"]
    rows, left_out = prepared_rows(subject, (32, 32), BenchOptions(), SHORT)
    assert {one.key for one in rows} >= {"eager", "eager-fp16", "compiled-fp16", "ours-torch"}
    assert {out.reason for out in left_out} == {"not run: absent", "not run: none"}
    quick, _ = prepared_rows(subject, (32, 32), BenchOptions(quick=True), SHORT)
    assert not any(one.form == "compiled" for one in quick)


@pytest.fixture
def tiny(tiny_bundle, tiny_model, tmp_path):
    """A row of the tiny bundle, its inputs' file, and its pictures."""
    images = DRAWS.integers(0, 256, (3, 32, 32, 3), np.uint8)
    style = DRAWS.integers(-2, 3, (1, 8)).astype(np.float32)
    path = tmp_path / "inputs.npz"
    Inputs(images, style).save(path)
    ours = row(
        "ours-torch-plain-fp32", engine="torch", source=tiny_bundle, size=(32, 32), method=SHORT,
        variant="generator/plain-fp32.onnx",
    )  # fmt: skip
    return ours, path, tiny_model.translation(images, style)


def test_throughput_is_measured_in_a_process_of_its_own_batch_after_batch(tiny):
    ours, inputs, expected = tiny
    figures = list(throughput(ours, inputs, (1, 5), SHORT, expected, lambda _: None))
    assert [figure.batch for figure in figures] == [1, 5]
    assert all(figure.reason is None and figure.images_per_second > 0 for figure in figures)


def test_a_row_that_does_not_answer_in_time_is_told_with_the_time(tiny):
    ours, inputs, expected = tiny
    hurried = replace(SHORT, answer_s=0.01)  # a process takes longer to start
    [figure] = throughput(ours, inputs, (1,), hurried, expected, lambda _: None)
    assert figure.reason == "it had not answered after 0.01 s"


def test_rows_that_compile_for_every_batch_come_last():
    forms = ("eager", "compiled", "graphed")
    table = judged(Measurement([on_card(f"eager-{form}", 1.0, 1.0, form=form) for form in forms], []))
    assert [row.form for row in longest_last(table)] == ["eager", "graphed", "compiled"]


def test_a_batch_whose_pictures_are_wrong_is_no_result(tiny):
    ours, inputs, expected = tiny
    [figure] = throughput(ours, inputs, (2,), SHORT, 255 - expected, lambda _: None)
    assert figure.images_per_second is None
    assert "grey levels" in figure.reason


def test_a_batch_that_fails_ends_the_row_with_its_reason(tiny, tmp_path):
    ours, _, expected = tiny
    broken = tmp_path / "broken.npz"
    Inputs(np.zeros((3, 32, 32, 4), np.uint8), np.zeros((1, 8), np.float32)).save(broken)
    [figure] = throughput(ours, broken, (1, 2), SHORT, expected, lambda _: None)
    assert (figure.batch, figure.images_per_second) == (1, None)
    assert "torch failed in" in figure.reason


@pytest.mark.slow
def test_a_whole_bench_with_the_processor_in_the_cards_place(tmp_path, monkeypatch):
    monkeypatch.setitem(subject_module.CONFIGS, "afhq", (SMALL, ("cat", "dog")))
    rows = ("eager-fp16", "ours-torch-*-fp32", "ours-tensorrt-rtx*")
    options = BenchOptions(config="afhq", rows=rows, batches=("2",), rounds=1)
    kept: list[dict[str, Any]] = []
    with opened_subject(tmp_path / "kept", options, device="cuda") as subject:
        found = measured_on_card(subject, options, method=SHORT, keep=lambda so_far: kept.append(card_record(so_far)))
    record = card_record(found)
    # after each round and each batch there is a whole record of what was measured by then
    measured = [sum(bool(one["batches"]) for one in part["rows"]) for part in kept]
    assert measured == list(range(len(record["rows"]) + 1))
    by_name = {one["name"]: one for one in record["rows"]}
    assert record["rows"][0]["engine"] == "pytorch"
    assert any(name.startswith("starcast on torch") for name in by_name)
    for one in record["rows"]:
        assert one["ms_p50"] > 0
        assert one["batches"][0]["batch"] == 2
        assert one["batches"][0]["images_per_s"] > 0
    assert record["rows"][0]["of_matmul_ceiling"] > 0
    assert any("taps16" in out["name"] and out["reason"].startswith("not run:") for out in record["left_out"])
