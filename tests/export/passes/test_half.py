"""Half precision lies between the first and the last convolution, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_graphs import graph, operators

from starcast.errors import OptionError
from starcast.export.gate.candidates import OnnxCandidate, difference, translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.passes.forms import apply_form
from starcast.export.passes.half import to_half
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.passes.norm_decomposition import decompose_norms

FLOAT, HALF, BFLOAT = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
WORST = 0.03  # of images of noise, after 13 norms of random weights: dozens of roundings by 2^-11


def halved(small, form: str, kind: ir.DataType) -> ir.Model:
    model = ir.load(small.generator)
    apply_form(model, form)
    to_half(model, kind)
    return model


@pytest.mark.parametrize("kind", [HALF, BFLOAT], ids=["half", "bfloat16"])
@pytest.mark.parametrize("form", ["plain", "taps16", "taps9", "phases"])
def test_the_format_finds_every_type_in_order(small, form, kind, tmp_path):
    model = halved(small, form, kind)
    assert all(value.type is not None for node in model.graph for value in node.outputs)
    names = [norm.name for norm in instance_norms(model.graph)]
    assert decompose_norms(model, small.config.image_size, dict.fromkeys(names, "one-pass")) == len(names)
    path = tmp_path / "graph.onnx"
    ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)


def test_half_lies_between_the_convolutions_and_the_style_stays_in_float32(small):
    model = halved(small, "taps16", HALF)
    convolutions = [node for node in model.graph if node.op_type in {"Conv", "ConvTranspose"}]
    assert {value.dtype for node in convolutions for value in [*node.inputs, *node.outputs] if value} == {HALF}
    kinds = {node.op_type: node.outputs[0].dtype for node in model.graph}
    assert (kinds["Sub"], kinds["Gemm"], kinds["Round"], kinds["LeakyRelu"]) == (FLOAT, FLOAT, FLOAT, HALF)
    for norm in instance_norms(model.graph):
        assert (norm.x.dtype, norm.scale.dtype, norm.shift.dtype) == (HALF, FLOAT, FLOAT)
    [into, back] = [node for node in model.graph if node.op_type == "Cast" and "float" in str(node.name)]
    assert (into.outputs[0].dtype, back.outputs[0].dtype) == (HALF, FLOAT)


@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
def test_images_in_half_are_those_of_pytorch_but_for_its_rounding(small, statistics):
    model = halved(small, "taps16", HALF)
    names = [norm.name for norm in instance_norms(model.graph)]
    decompose_norms(model, small.config.image_size, dict.fromkeys(names, statistics))
    candidate = OnnxCandidate(model)
    for trial in make_trials(small.model):
        got = (candidate.translate_unrounded(trial).astype(np.float64) - 127.5) / 127.5
        apart = difference(got, translate_with_torch(small.networks.generator, trial))
        assert 1e-4 < apart < WORST  # not float32's numbers either: it is in half


def network(nodes: str, **constants):
    draws = np.random.RandomState(0)
    return graph(
        nodes, "float[N, 3, H, W] x, float[N, 3, 1, 1] style", "float[N, 3, H2, W2] y",
        w=draws.standard_normal((3, 3, 1, 1)), doubled=[1.0, 1.0, 2.0, 2.0], **constants,
    )  # fmt: skip


def test_a_resizes_factors_stay_in_float32():
    model = network("c = Conv (x, w)  r = Resize (c, , doubled)  y = Conv (r, w)")
    to_half(model, HALF)
    [resize] = [node for node in model.graph if node.op_type == "Resize"]
    assert [value and value.dtype for value in resize.inputs] == [HALF, None, FLOAT]


def test_what_the_style_multiplies_elsewhere_is_cast():
    model = network("c = Conv (x, w)  m = Mul (c, style)  d = Conv (m, w)  y = Mul (d, style)")
    to_half(model, HALF)
    kinds = {node.name: node.outputs[0].dtype for node in model.graph}
    assert (kinds["m"], kinds["y"]) == (HALF, FLOAT)
    assert operators(model) == {"Conv": 2, "Mul": 2, "Cast": 3}


def test_a_weight_that_half_cannot_hold_is_named():
    big = np.full((3, 3, 1, 1), 7e4)
    nodes = "c = Conv (x, w)  y = Conv (c, big)"
    with pytest.raises(OptionError, match=r"y has a weight of 7e\+04, more than fp16 holds .* --precisions bf16"):
        to_half(network(nodes, big=big), HALF)
    to_half(network(nodes, big=big), BFLOAT)
