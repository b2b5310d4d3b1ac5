"""Rounding to half between nodes, which ONNX Runtime would leave out: held against numpy's own halves."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from small_graphs import graph, operators, run

from starcast.export.gate.candidates import Trial
from starcast.export.passes.half import to_half
from starcast.export.passes.norm_decomposition import decompose_norms
from starcast.export.precision.emulation import emulate, layers_that_lose

HALF = {ir.DataType.FLOAT16: np.dtype(np.float16), ir.DataType.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}
KINDS = pytest.mark.parametrize("kind", list(HALF), ids=["fp16", "bf16"])


def in_half(nodes: str, kind: ir.DataType, **constants: NDArray[np.float32]) -> ir.Model:
    """Nodes x -> y of which all are in half, between casts; every type given."""
    model = graph(nodes, "float[n] x", "float[n] y", **constants)
    model.graph.opset_imports[""] = 22
    for value in model.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy().astype(HALF[kind]), name=value.name)  # type: ignore[union-attr]
        value.type = ir.TensorType(kind)
    for node in model.graph:
        if node.op_type == "Cast" and node.outputs[0].name != "y":
            node.attributes["to"] = ir.AttrInt64("to", kind)
        if node.outputs[0].name != "y":
            node.outputs[0].type = ir.TensorType(kind)
    return model


@KINDS
def test_every_node_rounds_its_result(kind):
    # Cancellation shows it: of a a - a there is little left but what the product was rounded by.
    model = in_half(
        "a = Cast <to = 10> (x)  b = Mul (a, a)  c = Sub (b, a)  d = Mul (c, w)  y = Cast <to = 1> (d)", kind,
        w=np.float32([0.1]),
    )  # fmt: skip

    def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.astype(HALF[kind]).astype(np.float32)

    x = np.linspace(0.1, 3, 1001, dtype=np.float32)
    a = rounded(x)
    expected = rounded(rounded(rounded(a * a) - a) * rounded(np.float32([0.1])))
    np.testing.assert_array_equal(run(emulate(model), x), expected)
    unrounded = a * a - a
    assert np.abs(expected / np.float32(0.1) - unrounded).max() > 50 * np.finfo(np.float32).eps


@KINDS
def test_what_is_beyond_half_overflows_as_it_does_there(kind):
    model = in_half("a = Cast <to = 10> (x)  b = Mul (a, a)  y = Cast <to = 1> (b)", kind)
    [got] = run(emulate(model), np.float32([300.0]))
    assert np.isinf(got) == (kind == ir.DataType.FLOAT16)


def test_a_node_that_is_not_asked_for_does_not_round():
    model = in_half("a = Cast <to = 10> (x)  b = Mul (a, a)  y = Cast <to = 1> (b)", ir.DataType.FLOAT16)
    x = np.linspace(0.1, 3, 1001, dtype=np.float32)
    np.testing.assert_array_equal(run(emulate(model, lambda _: False), x), x * x)
    a = x.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run(emulate(model, lambda node: node.name == "a"), x), a * a)


@KINDS
def test_a_frame_graph_in_half_becomes_one_of_float32_alone(rewritten, kind):
    model = rewritten("phases")
    to_half(model, kind)
    decompose_norms(model, 32, {})
    before = operators(model)
    made = emulate(model)
    assert operators(model) == before
    kinds = {value.dtype for node in made.graph if node.op_type != "Cast" for value in node.outputs}
    assert not kinds & set(HALF)
    assert not {value.dtype for value in made.graph.initializers.values()} & set(HALF)


def test_the_layer_that_overflows_is_named(rewritten, drawn):
    model = rewritten("taps16")
    weight = model.graph.initializers["decode.0.conv1.weight"]
    # the norm behind takes the factor away again; half cannot hold what lies between
    weight.const_value = ir.tensor(weight.const_value.numpy() * 3e4, name=weight.name)
    to_half(model, ir.DataType.FLOAT16)
    decompose_norms(model, 32, {})
    [trial] = drawn.search[:1]
    assert layers_that_lose(model, [trial])[0].startswith("decode.0.conv1")


def test_images_are_compared_one_by_one(rewritten, drawn):
    model = rewritten("taps16")
    to_half(model, ir.DataType.BFLOAT16)
    decompose_norms(model, 32, {})
    found = layers_that_lose(model, [Trial(trial.sources, trial.styles) for trial in drawn.search], count=2)
    assert len(set(found)) == 2
