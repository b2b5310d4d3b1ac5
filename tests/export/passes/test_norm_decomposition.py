"""Spelled norms give the norm's numbers, in float32 and within half's rounding, however far off nought planes lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from small_graphs import graph, operators, run

from starcast.export.gate.candidates import difference
from starcast.export.passes.norm_decomposition import decompose_norms

NORM = "InstanceNormalization <epsilon = 0.00001>"
WEIGHTED = f"n = {NORM} (x, gamma, beta)  y = LeakyRelu <alpha = 0.2> (n)"
STYLED = f"n = {NORM} (x, one, nought)  m = Mul (scale, n)  s = Add (m, shift)  y = LeakyRelu <alpha = 0.2> (s)"
CHANNELS, SIDE = 8, 32
GAMMA, BETA = np.linspace(0.5, 2, CHANNELS), np.linspace(-1, 1, CHANNELS)
# the four roundings of a half that an element meets (a, its product, k, the sum), and as much again for what
# mean(x x) - m m loses at a mean of 100 stds
HALF_ERROR = 8 * 2**-11


def norm(nodes: str) -> ir.Model:
    return graph(
        nodes, f"float[batch, {CHANNELS}, height, width] x, float[styles, {CHANNELS}, 1, 1] scale, "
        f"float[styles, {CHANNELS}, 1, 1] shift", f"float[batch, {CHANNELS}, height, width] y",
        gamma=GAMMA, beta=BETA, one=np.ones(CHANNELS), nought=np.zeros(CHANNELS),
    )  # fmt: skip


def half_norm(nodes: str) -> ir.Model:
    """The norm as `to_half` leaves it: planes in half, scales and shifts in float32."""
    model = norm(nodes.replace("y = LeakyRelu", "l = LeakyRelu") + "  y = Cast <to = 1> (l)")
    half = ir.TensorType(ir.DataType.FLOAT16)
    for value in [model.graph.inputs[0], *(node.outputs[0] for node in model.graph if node.op_type != "Cast")]:
        value.type = half
    return model


def decomposed(nodes: str, statistics: str, *, side: int = SIDE, half: bool = False) -> ir.Model:
    model = half_norm(nodes) if half else norm(nodes)
    assert decompose_norms(model, side, {"n": statistics}) == 1  # type: ignore[dict-item]
    return model


def in_float64(x: NDArray[Any]) -> NDArray[np.float64]:
    """The norm and its activation as papers write them."""
    wide = x.astype(np.float64)
    mean, variance = wide.mean(axis=(2, 3), keepdims=True), wide.var(axis=(2, 3), keepdims=True)
    y = (wide - mean) / np.sqrt(variance + 1e-5) * GAMMA[:, None, None] + BETA[:, None, None]
    return np.where(y < 0, 0.2 * y, y)


def planes(ratio: float, kind: type = np.float32, side: int = SIDE, batch: int = 2) -> NDArray[Any]:
    """Noise of std 0.5 whose mean is `ratio` stds off nought, to either side in turn."""
    noise = np.random.RandomState(0).standard_normal((batch, CHANNELS, side, side))
    return (0.5 * (noise + ratio * (-1) ** np.arange(CHANNELS)[:, None, None])).astype(kind)


def feeds(x: NDArray[Any], nodes: str) -> list[NDArray[Any]]:
    column = [array.astype(np.float32)[None, :, None, None] for array in (GAMMA, BETA)]
    return [x, *column] if nodes == STYLED else [x]


def evaluated(model: ir.Model, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """The graph's output, every operator's result rounded to its type. (ONNX Runtime on the CPU has no half operators
    and takes casts out in between; and it sums a plane up one by one.)"""
    names = [str(value.name) for value in model.graph.inputs]
    output: NDArray[Any] = ReferenceEvaluator(ir.to_proto(model)).run(None, dict(zip(names, inputs, strict=True)))[0]
    return output


@pytest.mark.parametrize("nodes", [WEIGHTED, STYLED], ids=["weights", "style"])
@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
@pytest.mark.parametrize("side", [SIDE, 160], ids=["small planes", "large planes"])
def test_a_decomposed_norm_gives_the_norms_numbers_in_float32(nodes, statistics, side):
    model = decomposed(nodes, statistics, side=side)
    assert "InstanceNormalization" not in operators(model)
    assert "Cast" not in operators(model)
    x = planes(1, side=side)
    assert difference(run(model, *feeds(x, nodes)), in_float64(x)) < 3e-6


@pytest.mark.parametrize(("statistics", "means"), [("one-pass", 3), ("two-pass", 4)])
def test_means_of_large_planes_are_taken_over_columns_then_rows(statistics, means):
    assert operators(decomposed(WEIGHTED, statistics, side=128))["ReduceMean"] == 2
    assert operators(decomposed(WEIGHTED, statistics, side=160))["ReduceMean"] == means


def test_a_norm_that_is_not_named_takes_two_passes():
    model = norm(WEIGHTED)
    decompose_norms(model, SIDE, {})
    x = planes(1000)
    assert difference(run(model, *feeds(x, WEIGHTED)), in_float64(x)) < 1e-3
    once = run(decomposed(WEIGHTED, "one-pass"), *feeds(x, WEIGHTED))
    assert difference(once, in_float64(x)) > 0.01  # which is why


@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
def test_a_plane_of_one_colour_gives_the_shift(statistics):
    x = np.full((1, CHANNELS, SIDE, SIDE), 300.7, np.float32)
    got = evaluated(decomposed(STYLED, statistics), feeds(x, STYLED))
    # off by what the mean is rounded by, two units of its last place, over the root of epsilon, times the scale
    np.testing.assert_allclose(got, in_float64(x), atol=2 * np.spacing(x.max()) / np.sqrt(1e-5) * GAMMA.max())


def in_half(nodes: str, statistics: str, x: NDArray[np.float16]) -> NDArray[Any]:
    output = evaluated(decomposed(nodes, statistics, half=True), feeds(x, nodes))
    assert (output == output.astype(np.float16)).all()
    return output.astype(np.float64)


@pytest.mark.parametrize("nodes", [WEIGHTED, STYLED], ids=["weights", "style"])
@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
@pytest.mark.parametrize("ratio", [1, 10, 100])
def test_every_element_is_within_halfs_rounding_however_far_off_planes_lie(nodes, statistics, ratio):
    x = planes(ratio, np.float16)
    assert difference(in_half(nodes, statistics, x), in_float64(x)) < HALF_ERROR


@pytest.mark.parametrize("ratio", [10, 100])
def test_a_product_and_a_sum_in_half_would_not_be(ratio):
    x = planes(ratio, np.float16)
    wide = x.astype(np.float32)
    a = GAMMA.astype(np.float32)[:, None, None] / np.sqrt(wide.var(axis=(2, 3), keepdims=True) + 1e-5)
    b = BETA.astype(np.float32)[:, None, None] - wide.mean(axis=(2, 3), keepdims=True) * a
    y = x * a.astype(np.float16) + b.astype(np.float16)
    assert difference(np.where(y < 0, np.float16(0.2) * y, y), in_float64(x)) > 3 * HALF_ERROR


def test_half_planes_of_large_numbers_do_not_overflow():
    x = np.random.RandomState(0).choice([-512.0, 512.0], (1, CHANNELS, SIDE, SIDE)).astype(np.float16)
    assert difference(in_half(WEIGHTED, "one-pass", x), in_float64(x)) < HALF_ERROR


def test_the_planes_are_cast_for_the_statistics_alone():
    model = decomposed(STYLED, "one-pass", half=True)
    kinds = [(node.op_type, node.outputs[0].dtype) for node in model.graph if model.graph.inputs[0] in node.inputs]
    assert kinds == [("Cast", ir.DataType.FLOAT), ("Sub", ir.DataType.FLOAT16)]
