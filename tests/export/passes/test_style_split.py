"""Style-only work leaves the frame graph, and one style may go into the norms."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph, operators, run

from starcast.export.passes.rule import apply_rules
from starcast.export.passes.style_split import StyleInNorm, split_off_style

NODES = (
    "g = Gemm <transB = 1> (style, w, b)  r = Reshape (g, column)  "
    "gamma, beta = Split <axis = 1, num_outputs = 2> (r)  "
    "n = InstanceNormalization <epsilon = 0.01> (x, ones, zeros)  m = Mul (gamma, n)  y = Add (m, beta)"
)


def network(nodes: str = NODES, scale: float = 1.0):
    draws = np.random.RandomState(0)
    return graph(
        nodes, "float[N, 3, H, W] x, float[styles, 4] style", "float[N, 3, H, W] y", column=np.array([-1, 6, 1, 1]),
        w=draws.standard_normal((6, 4)), b=draws.standard_normal(6), ones=np.full(3, scale), zeros=np.zeros(3),
    )  # fmt: skip


def images(count: int = 2):
    return np.random.RandomState(1).standard_normal((count, 3, 5, 5)).astype(np.float32)


def styles(count: int):
    return np.random.RandomState(2).standard_normal((count, 4)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2])
def test_the_two_graphs_after_each_other_give_what_the_one_gave(count):
    frame = network()
    product = split_off_style(frame)
    assert product is not None
    assert operators(product) == {"Gemm": 1}
    assert [value.name for value in frame.graph.inputs] == ["x", "gamma_beta"]
    assert "Gemm" not in operators(frame)
    got = run(frame, images(), run(product, styles(count)))
    np.testing.assert_allclose(got, run(network(), images(), styles(count)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("nodes", [
    NODES.replace("y = Add (m, beta)", "h = ReduceMean (style)  z = Add (m, beta)  y = Add (z, h)"),
    NODES.replace("Gemm <transB = 1> (style, w, b)", "MatMul (style, w)"),
])  # fmt: skip
def test_a_style_that_is_read_by_anything_else_stays_in_the_frame_graph(nodes):
    assert split_off_style(network(nodes)) is None


def test_one_style_for_all_images_goes_into_the_norm():
    model = network()
    split_off_style(model)
    before = run(model, images(), images(1).ravel()[None, :6])
    assert apply_rules(model, StyleInNorm).fired == 1
    assert operators(model) == {"Reshape": 3, "Split": 1, "InstanceNormalization": 1}
    np.testing.assert_allclose(run(model, images(), images(1).ravel()[None, :6]), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("nodes", "scale", "reason"), [
    (NODES, 2.0, "its norm has its own scale and shift"),
    (NODES.replace("m = Mul (gamma, n)", "k = Sigmoid (gamma)  m = Mul (k, n)"), 1.0,
     "its scale or shift is not the style's"),
    (NODES.replace("m = Mul (gamma, n)", "k = GlobalAveragePool (x)  m = Mul (k, n)"), 1.0,
     "its scale or shift is not the style's"),
    (NODES.replace("y = Add (m, beta)", "z = Add (m, beta)  y = Add (z, n)"), 1.0,
     "another node reads an intermediate value"),
])  # fmt: skip
def test_a_norm_that_cannot_take_the_style_stays_and_says_why(nodes, scale, reason):
    model = network(nodes, scale)
    split_off_style(model)
    outcome = apply_rules(model, StyleInNorm)
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [reason]
