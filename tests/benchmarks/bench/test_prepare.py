"""Which rows a bundle has on the CPU, and which of them the options choose."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from measured_rows import row
from stand_in_gpu import SHORT, gpu_setting

from starcast.benchmarks.bench import prepare as module
from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.gpu import NvidiaGpu
from starcast.benchmarks.bench.prepare import bundle_rows, prepare_rows
from starcast.benchmarks.bench.rows import LeftOut, Setting
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.options import BenchOptions
from starcast.runtime.bundle import open_bundle

SETTING = Setting(size=(32, 32), batch=2)


def test_a_bundle_gives_a_row_for_every_engine_of_every_variant(tiny_bundle):
    rows, left_out = bundle_rows(Cpu(), open_bundle(tiny_bundle), SETTING)
    assert list(rows) == ["ours-openvino-plain-fp32", "ours-onnxruntime-plain-fp32"]
    first = rows["ours-openvino-plain-fp32"]
    assert first.name == "starcast on OpenVINO, plain, fp32"
    assert all(row.ours and row.setting.batch == 2 for row in rows.values())
    assert left_out == {}


def test_a_variant_that_cannot_run_here_or_at_this_size_is_named_with_the_reason(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    variants = (
        msgspec.structs.replace(variant, engines=("abacus",)),
        msgspec.structs.replace(variant, engines=("openvino",), sizes=((64, 96),), one_style=True),
        msgspec.structs.replace(variant, engines=("tensorrt",), form="taps16"),
    )
    other = type(bundle)(bundle.path, msgspec.structs.replace(bundle.manifest, variants=variants), bundle.sha256)
    rows, left_out = bundle_rows(Cpu(), other, SETTING)
    assert rows == {}
    assert {out.name for out in left_out.values()} == {
        "starcast on abacus, plain, fp32", "starcast on OpenVINO, plain, one style, fp32", "starcast on TensorRT",
    }  # fmt: skip
    assert "96x64" in left_out["ours-openvino-plain-one-style-fp32"].reason
    assert "--device cuda" in left_out["ours-tensorrt"].reason


class Told(NvidiaGpu):
    """A GPU on which TensorRT and ONNX Runtime do not run."""

    def why_not_peer(self, peer):
        return "none" if peer.on_graph else None


@pytest.fixture
def subject(tiny_bundle, tmp_path):
    return Subject(tmp_path / "weights.pt", open_bundle(tiny_bundle), tmp_path)


def test_rows_that_do_not_run_here_are_told_with_those_that_were_asked_for(subject, monkeypatch):
    gone = {"ours-tensorrt": LeftOut(name="TensorRT", reason="not run: absent")}
    monkeypatch.setattr(module, "bundle_rows", lambda *_: ({"ours-torch": row("ours-torch")}, dict(gone)))
    device, checkpoint = Told(SHORT), SimpleNamespace()
    rows, left_out = prepare_rows(subject, checkpoint, BenchOptions(rows=("ours-*",)), device, gpu_setting())
    assert [one.key for one in rows] == ["eager", "ours-torch"]
    assert [out.name for out in left_out] == ["TensorRT"]
    rows, left_out = prepare_rows(subject, checkpoint, BenchOptions(), device, gpu_setting())
    assert {one.key for one in rows} >= {"eager", "eager-fp16", "compiled-fp16", "ours-torch"}
    assert {out.reason for out in left_out} == {"not run: absent", "not run: none"}
    quick, _ = prepare_rows(subject, checkpoint, BenchOptions(quick=True), device, gpu_setting())
    assert not any(one.form == "compiled" for one in quick)


def test_pytorchs_peers_run_the_checkpoint_and_the_others_the_plain_export(subject, monkeypatch):
    monkeypatch.setattr("starcast.benchmarks.bench.prepare.plain_graph", lambda *_: Path("plain.onnx"))
    options = BenchOptions(rows=("eager-bf16", "plain-*"))
    rows, _ = prepare_rows(subject, SimpleNamespace(), options, Cpu(), SETTING)
    assert {one.key: one.source for one in rows} == {
        "eager": subject.checkpoint, "eager-bf16": subject.checkpoint,
        "plain-onnxruntime": Path("plain.onnx"), "plain-openvino": Path("plain.onnx"),
    }  # fmt: skip
