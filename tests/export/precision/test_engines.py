"""Qualities as the runtime's engines give them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from starcast.errors import EngineError
from starcast.export.passes.style_split import split_off_style
from starcast.export.precision import engines
from starcast.export.precision.engines import bf16_quality, quality_on, translated_in_float32
from starcast.runtime.backends import openvino
from starcast.runtime.backends.base import EngineOptions, GraphFile
from starcast.runtime.backends.onnxruntime import OnnxRuntime
from starcast.runtime.backends.openvino import OpenVINO


def test_float32_is_as_good_as_float32_on_every_engine(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    expected = translated_in_float32(model, drawn.gate)
    found = quality_on([OnnxRuntime(), OpenVINO()], tmp_path / "graph.onnx", "fp32", drawn.gate, expected)
    assert set(found.domains) == set(drawn.gate)
    # the engines' bytes differ by at most 1, and seldom
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


def test_a_graph_that_takes_scales_and_shifts_is_given_them(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    expected = translated_in_float32(model, drawn.gate)
    product = split_off_style(model)
    assert product is not None
    ir.save(model, tmp_path / "graph.onnx")
    ir.save(product, tmp_path / "product.onnx")
    files = tmp_path / "graph.onnx", tmp_path / "product.onnx"
    found = quality_on([OnnxRuntime()], files[0], "fp32", drawn.gate, expected, files[1])
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


@pytest.mark.skipif(openvino.lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_bf16_is_measured_where_the_processor_has_it(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    found = bf16_quality(tmp_path / "graph.onnx", drawn.gate, translated_in_float32(model, drawn.gate))
    assert found is not None
    assert all(30 < domain.psnr_mean < 100 for domain in found.domains.values())


def test_bf16_is_not_measured_where_the_processor_lacks_it(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "lacks", lambda _: "an old processor has no bfloat16 arithmetic")
    assert bf16_quality(tmp_path / "unread.onnx", drawn.gate, {}) is None


class _OldCore:
    available_devices = ("CPU",)

    @staticmethod
    def get_property(device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "INT8"]


def test_a_processor_without_bf16_says_so_and_names_the_precision_that_works(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "_core", _OldCore)
    with pytest.raises(
        EngineError, match="cannot be run in bf16 here .*no bfloat16 arithmetic.*: use --precision fp32"
    ):
        OpenVINO().open(GraphFile(tmp_path / "graph.onnx"), EngineOptions(precision="bf16"))
