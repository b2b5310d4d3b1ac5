"""Convolutions to a few channels: both forms give the same numbers, and decline what they must."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import gap, graph, operators

from starcast.export.passes.few_channels import FewInPhases, FewTransposed
from starcast.export.passes.rule import apply_rules

UP = "u = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, up)  r = Relu (u)  "
LAST = UP + "y = Conv <pads = [3, 3, 3, 3]> (r, w, b)"
KINDS = {FewInPhases: {"ConvTranspose": 1, "Relu": 1, "Conv": 1, "DepthToSpace": 1},
         FewTransposed: {"ConvTranspose": 2, "Relu": 1}}  # fmt: skip


def network(nodes: str, side: int = 7, outputs: int = 3, inputs: int = 8, seed: int = 0) -> ir.Model:
    draws = np.random.RandomState(seed)
    return graph(
        nodes, f"float[N, 5, H, W] x, float[{outputs}, {inputs}, 7, 7] computed", f"float[N, {outputs}, H2, W2] y",
        up=draws.standard_normal((5, inputs, 4, 4)), odd=draws.standard_normal((5, inputs, 3, 3)),
        w=draws.standard_normal((outputs, inputs, side, side)), b=draws.standard_normal(outputs),
    )  # fmt: skip


def images(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(1).standard_normal((2, 5, height, width)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nodes", [LAST, LAST.replace(", b)", ")")], ids=["a bias", "no bias"])
def test_a_last_convolution_is_rewritten(kind, nodes):
    model = network(nodes)
    assert apply_rules(model, kind).fired == 1
    assert operators(model) == KINDS[kind]
    assert gap(model, network(nodes), images(4, 6)) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(KINDS)), st.sampled_from([3, 5, 7, 9]), st.integers(1, 4), st.integers(8, 19),
    st.integers(1, 5), st.integers(1, 5),
)  # fmt: skip
def test_every_kernel_and_size_gives_the_same_numbers(kind, side, outputs, inputs, height, width):
    nodes = LAST.replace("3, 3, 3, 3", ", ".join([str(side // 2)] * 4))
    sizes = {"side": side, "outputs": outputs, "inputs": inputs, "seed": side}
    model = network(nodes, **sizes)
    assert apply_rules(model, kind).fired == 1
    assert gap(model, network(nodes, **sizes), images(height, width)) < 1e-4


@pytest.mark.parametrize(("kind", "nodes", "reason"), [
    (FewInPhases, LAST.replace("(r, w, b)", "(r, computed)"), "its weight is not constant"),
    (FewInPhases, LAST.replace("3, 3, 3, 3", "2, 2, 2, 2"), "its border is not 3"),
    (FewTransposed, LAST.replace("3, 3, 3, 3", "2, 2, 2, 2"), "its border is not 3"),
    (FewInPhases, "y = Conv <pads = [3, 3, 3, 3]> (x, w, b)", "its map may have an odd height or width"),
    (FewInPhases, LAST.replace("<strides = [2, 2], pads = [1, 1, 1, 1]> (x, up)", "<strides = [2, 2]> (x, odd)"),
     "its map may have an odd height or width"),
])  # fmt: skip
def test_it_declines_with_a_reason(kind, nodes, reason):
    outcome = apply_rules(network(nodes), kind)
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [reason]


@pytest.mark.parametrize(("nodes", "sizes"), [
    (LAST, {"outputs": 5}), (LAST, {"inputs": 7}), (LAST.replace("3, 3, 3, 3", "0, 0, 0, 0"), {"side": 1}),
    (LAST.replace("<pads", "<strides = [2, 2], pads"), {}),
], ids=["many outputs", "few inputs", "1x1", "stride 2"])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_other_convolutions_are_ignored(kind, nodes, sizes):
    outcome = apply_rules(network(nodes, **sizes), kind)
    assert (outcome.fired, outcome.declined) == (0, ())
