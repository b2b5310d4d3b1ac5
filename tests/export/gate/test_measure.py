"""Qualities as the runtime's engines give them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from starcast.errors import EngineError
from starcast.export.gate.measure import measure_emulated, measure_on_engines, translate_in_float32
from starcast.export.passes.half import to_half
from starcast.export.passes.norm_decomposition import decompose_norms
from starcast.export.passes.style_split import split_off_style
from starcast.runtime.engines import openvino
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.openvino import OpenVINO


def test_float32_is_as_good_as_float32_on_every_engine(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    expected = translate_in_float32(model, drawn.gate)
    found = measure_on_engines([OnnxRuntime(), OpenVINO()], Graph(tmp_path / "graph.onnx"), drawn.gate, expected)
    assert set(found.domains) == set(drawn.gate)
    # the engines' bytes differ by at most 1, and seldom
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


def test_a_graph_that_takes_scales_and_shifts_is_given_them(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    expected = translate_in_float32(model, drawn.gate)
    product = split_off_style(model)
    assert product is not None
    ir.save(model, tmp_path / "graph.onnx")
    ir.save(product, tmp_path / "product.onnx")
    files = tmp_path / "graph.onnx", tmp_path / "product.onnx"
    found = measure_on_engines([OnnxRuntime()], Graph(files[0]), drawn.gate, expected, files[1])
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


@pytest.mark.skipif(openvino.lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_bf16_is_measured_where_the_processor_has_it(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    expected, graph = translate_in_float32(model, drawn.gate), Graph(tmp_path / "graph.onnx", precision="bf16")
    found = measure_on_engines([OpenVINO()], graph, drawn.gate, expected)
    assert all(30 < domain.psnr_mean < 100 for domain in found.domains.values())


def test_an_emulation_of_half_is_a_little_off_and_one_of_bfloat16_more(rewritten, drawn):
    model = rewritten("phases")
    expected = translate_in_float32(model, drawn.gate)
    found = {}
    for kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        made = rewritten("phases")
        to_half(made, kind)
        decompose_norms(made, 32, {})
        quality = measure_emulated(made, drawn.gate, expected)
        assert set(quality.domains) == set(drawn.gate)
        found[kind] = np.mean([domain.psnr_mean for domain in quality.domains.values()])
    # three bits of fraction less are 18 dB; the bytes' own rounding takes some of it
    assert 10 < found[ir.DataType.FLOAT16] - found[ir.DataType.BFLOAT16] < 19


class _OldCore:
    available_devices = ("CPU",)

    @staticmethod
    def get_property(device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "INT8"]


def test_a_processor_without_bf16_says_so_and_names_the_precision_that_works(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "_core", _OldCore)
    with pytest.raises(
        EngineError, match="cannot be run in bf16 here .*no bfloat16 instructions.*: use --precision fp32"
    ):
        OpenVINO().open(Graph(tmp_path / "graph.onnx", precision="bf16"), EngineOptions())
