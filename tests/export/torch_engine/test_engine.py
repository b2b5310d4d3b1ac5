"""The torch backend behind the runtime's interface."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import graph

from starcast.errors import EngineError
from starcast.export.torch_engine import engine
from starcast.export.torch_engine.engine import TorchEngine
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import Absence, EngineOptions, Graph
from starcast.runtime.engines.candidates import list_candidates
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.engines.session import VariantSession

TORCH = TorchEngine()
DRAWS = np.random.default_rng(8)


def test_a_bundle_gives_onnx_runtimes_bytes(oracle_bundle):
    images = DRAWS.integers(0, 256, (2, 64, 96, 3), np.uint8)
    size = oracle_bundle.manifest.condition.size
    for variant in oracle_bundle.manifest.variants:
        if TORCH.why_unsupported(variant) is not None:
            continue
        shared = msgspec.structs.replace(variant, engines=("onnxruntime",))
        for count in (1, 2):
            styles = DRAWS.standard_normal((count, size)).astype(np.float32)
            got = VariantSession(oracle_bundle, TORCH, variant, EngineOptions())(images, styles)
            expected = VariantSession(oracle_bundle, OnnxRuntime(), shared, EngineOptions())(images, styles)
            assert got.dtype == np.uint8
            assert np.abs(got.astype(int) - expected).max() <= 1


def test_it_is_found_by_its_name_and_never_by_auto(oracle_bundle):
    assert "torch" not in ENGINES
    found = list_candidates(oracle_bundle, "torch")
    assert {candidate.engine.name for candidate in found} == {"torch"}
    assert [candidate.variant.precision for candidate in found] == ["fp32"] * len(found)
    for precision in TORCH.converts:
        halves = list_candidates(oracle_bundle, "torch", precision)
        assert [candidate.variant.file for candidate in halves] == [candidate.variant.file for candidate in found]
        assert {candidate.variant.precision for candidate in halves} == {precision}


def test_norms_without_the_kernel_are_told_of_once_for_all_graphs_of_a_bundle(oracle_bundle, monkeypatch):
    def choose(name, device, report):
        report("The AdaIN kernel is left out.")
        return "reference"

    monkeypatch.setattr("starcast.train.adain.choose_adain", choose)
    variant = next(one for one in oracle_bundle.manifest.variants if TORCH.why_unsupported(one) is None)
    lines: list[str] = []
    frames = VariantSession(oracle_bundle, TorchEngine(), variant, EngineOptions(progress=lines.append))
    frames(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, oracle_bundle.manifest.condition.size), np.float32))
    frames.session("mapping.onnx")
    assert lines == ["The AdaIN kernel is left out."]


def test_a_gpu_without_room_for_the_trial_of_the_kernels_is_a_sentence(tmp_path, monkeypatch):
    def refused(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("starcast.train.adain.choose_adain", refused)
    path = tmp_path / "sum.onnx"
    ir.save(graph("y = Add(x, x)", "float[n] x", "float[n] y"), path)
    with pytest.raises(EngineError, match=r"sum.onnx is refused by torch .*CUDA out of memory"):
        TorchEngine().open(Graph(path), EngineOptions())


def test_a_float32_graph_is_opened_in_the_precision_that_is_asked_for(oracle_bundle):
    variant = next(one for one in oracle_bundle.manifest.variants if TORCH.why_unsupported(one) is None)
    images = DRAWS.integers(0, 256, (1, 64, 64, 3), np.uint8)
    styles = DRAWS.standard_normal((1, oracle_bundle.manifest.condition.size)).astype(np.float32)
    exact, *halves = (
        VariantSession(oracle_bundle, TORCH, msgspec.structs.replace(variant, precision=name), EngineOptions())(
            images, styles
        )
        for name in ("fp32", "fp16", "bf16")
    )
    for half in halves:
        apart = np.abs(half.astype(int) - exact)
        assert 0 < apart.mean() < 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engines": ("ncnn",)}, "not made for torch"),
        ({"precision": "int8"}, "is in int8"),
        ({"precision": "fp16", "parity": None, "engines": ("tensorrt",)}, "is in fp16"),
    ],
)
def test_what_it_does_not_run_is_told(tiny_bundle, changes, reason):
    [variant] = open_bundle(tiny_bundle).manifest.variants
    assert TORCH.why_unsupported(variant) is None
    assert reason in TORCH.why_unsupported(msgspec.structs.replace(variant, **changes))


@pytest.mark.parametrize("missing", ["torch", "onnx_ir"])
def test_where_a_package_is_missing_it_is_absent(monkeypatch, missing):
    assert TORCH.absent() is None
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name == missing else object())
    assert TORCH.absent() == Absence(f"not installed: {missing}", pip_helps=True)


def test_a_torch_that_does_not_load_is_absent_with_the_reason(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "does not load" in TORCH.absent().reason
    assert not TORCH.absent().pip_helps


def test_devices_are_named_with_what_is_in_the_way(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = TORCH.devices(b"")
    assert found["CPU"] is None
    assert "NVIDIA" in found["CUDA"]


def test_an_operator_that_is_not_known_is_one_sentence(tmp_path):
    path = tmp_path / "odd.onnx"
    ir.save(graph("y = Softmax(x)", "float[2] x", "float[2] y"), path)
    with pytest.raises(EngineError, match=r"^y is a Softmax, .*--backend$"):
        TORCH.open(Graph(path), EngineOptions())


def test_a_file_that_is_no_graph_is_named(tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(b"\x00\xff" * 40)
    with pytest.raises(EngineError, match=r"odd.onnx cannot be read as ONNX"):
        TORCH.open(Graph(path), EngineOptions())


def test_what_torch_ends_is_told_with_the_graph(tmp_path):
    path = tmp_path / "sum.onnx"
    ir.save(graph("y = Add(x, x2)", "float[n] x, float[m] x2", "float[k] y"), path)
    session = TORCH.open(Graph(path), EngineOptions(threads=1))
    with pytest.raises(EngineError, match=r"torch failed in .*sum.onnx"):
        session.run({"x": np.ones(2, np.float32), "x2": np.ones(3, np.float32)})
    session.close()
