"""A bias is dropped where norms take it away again, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph

from starcast.export.passes.dead_biases import drop_dead_biases

NORM = "InstanceNormalization"


def network(nodes: str):
    draws = np.random.RandomState(0)
    return graph(
        nodes, "float[N, 3, H, W] x", "float[N, 3, H2, W2] y", w=draws.standard_normal((3, 3, 3, 3)),
        w1=draws.standard_normal((3, 3, 1, 1)), b=draws.standard_normal(3), scale=draws.standard_normal(3),
        shift=draws.standard_normal(3), doubled=[1.0, 1.0, 2.0, 2.0], root=np.sqrt(2.0),
    )  # fmt: skip


CONV = "c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  "
DEAD = {
    "a norm": f"y = {NORM} (c, scale, shift)",
    "a pool and a norm": f"p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c)  y = {NORM} (p, scale, shift)",
    "a repetition and a norm": f"p = Resize (c, , doubled)  y = {NORM} (p, scale, shift)",
    "a 1x1 convolution, a sum, a factor and a norm": "p = Conv (c, w1)  q = Add (c, p)  r = Div (q, root)"
    f"  y = {NORM} (r, scale, shift)",
    "a convolution without a border and a norm": f"p = Conv (c, w)  y = {NORM} (p, scale, shift)",
}
ALIVE = {
    "an activation": ("l = LeakyRelu (c)  " + f"y = {NORM} (l, scale, shift)", "l (LeakyRelu) depends on it"),
    "a convolution with a border": (f"p = Conv <pads = [1, 1, 1, 1]> (c, w)  y = {NORM} (p, scale, shift)",
                                    "p (Conv) depends on it"),
    "a pool with a border": ("p = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1> (c)"
                             f"  y = {NORM} (p, scale, shift)", "p (AveragePool) depends on it"),
    "the output": ("y = Add (c, c)", "the graph's output depends on it"),
    "a norm and an activation": (f"n = {NORM} (c, scale, shift)  l = Relu (c)  y = Add (n, l)",
                                 "l (Relu) depends on it"),
}  # fmt: skip


@pytest.mark.parametrize("behind", DEAD.values(), ids=DEAD)
def test_a_bias_that_only_norms_see_goes_and_the_numbers_stay(behind):
    model, before = network(CONV + behind), network(CONV + behind)
    assert drop_dead_biases(model).fired == 1
    assert "b" not in model.graph.initializers
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6


@pytest.mark.parametrize(("behind", "reason"), ALIVE.values(), ids=ALIVE)
def test_a_bias_that_is_seen_stays_and_says_by_what(behind, reason):
    model = network(CONV + behind)
    outcome = drop_dead_biases(model)
    assert (outcome.fired, outcome.declined) == (0, (f"c: {reason}",))
