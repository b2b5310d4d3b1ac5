"""Convolutions beside a resampling: each rewrite fires, gives the same numbers, and declines what it must."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import gap, graph, operators, run

from starcast.export.passes.resampling import (
    EnlargedIn9,
    EnlargedIn16,
    EnlargedInPhases,
    EnlargeLast,
    PooledIn9,
    PooledIn16,
    PoolFirst,
    SpreadInPhases,
)
from starcast.export.passes.rule import ExactRule, Outcome, apply_rules

POOL = "AveragePool <kernel_shape = [2, 2], strides = [2, 2]>"
DOUBLE = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'

PLACES = {
    "pooled": f"h = Conv <pads = [1, 1, 1, 1]> (x, w, b)  y = {POOL} (h)",
    "pooled without a bias": f"h = Conv <pads = [1, 1, 1, 1]> (x, w)  y = {POOL} (h)",
    "enlarged": f"h = {DOUBLE} (x, , doubled)  y = Conv <pads = [1, 1, 1, 1]> (h, w, b)",
    "enlarged without a bias": f"h = {DOUBLE} (x, , doubled)  y = Conv <pads = [1, 1, 1, 1]> (h, w)",
    "shortcut pooled": f"h = Conv (x, w1)  y = {POOL} (h)",
    "shortcut pooled with a bias": f"h = Conv (x, w1, b)  y = {POOL} (h)",
    "shortcut enlarged": f"h = {DOUBLE} (x, , doubled)  y = Conv (h, w1)",
    "shortcut enlarged with a bias": f"h = {DOUBLE} (x, , doubled)  y = Conv (h, w1, b)",
}
REWRITTEN = [
    (PooledIn9, "pooled", {"AveragePool": 1, "Conv": 1}),
    (PooledIn16, "pooled", {"Conv": 1}),
    (EnlargedIn9, "enlarged", {"ConvTranspose": 1, "AveragePool": 1}),
    (EnlargedIn16, "enlarged", {"ConvTranspose": 1}),
    (EnlargedInPhases, "enlarged", {"Conv": 4, "Concat": 1, "DepthToSpace": 1}),
    (PoolFirst, "shortcut pooled", {"AveragePool": 1, "Conv": 1}),
    (EnlargeLast, "shortcut enlarged", {"Conv": 1, "Resize": 1}),
]


def place(nodes: str, channels_in: int = 3, channels_out: int = 5, seed: int = 0) -> ir.Model:
    """A graph x -> y of those nodes, with random weights: w 3x3, w1 1x1, b."""
    draws = np.random.RandomState(seed)
    return graph(
        nodes, f"float[N, {channels_in}, H, W] x", f"float[N, {channels_out}, H2, W2] y",
        w=draws.standard_normal((channels_out, channels_in, 3, 3)),
        w1=draws.standard_normal((channels_out, channels_in, 1, 1)), b=draws.standard_normal(channels_out),
        doubled=[1.0, 1.0, 2.0, 2.0],
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "left"), [
    (kind, name, left) for kind, start, left in REWRITTEN for name in PLACES if name.startswith(start)
])  # fmt: skip
@given(size=st.tuples(st.integers(2, 9), st.integers(2, 9)), channels=st.tuples(st.integers(1, 4), st.integers(1, 4)))
@settings(max_examples=8, deadline=None)
def test_it_fires_once_and_the_numbers_stay_at_every_size(kind, name, left, size, channels):
    model, before = place(PLACES[name], *channels), place(PLACES[name], *channels)
    assert apply_rules(model, kind).fired == 1
    assert operators(model) == left
    x = np.random.RandomState(1).standard_normal((2, channels[0], *size)).astype(np.float32)
    assert gap(model, before, x) < 1e-5


DECLINED = [
    (PooledIn9, f"h = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)  y = {POOL} (h)", "its strides are not 1"),
    (PooledIn9, f"h = Conv (x, w)  y = {POOL} (h)", "its border is not 1"),
    (PooledIn9, f"h = Conv <auto_pad = \"SAME_UPPER\"> (x, w)  y = {POOL} (h)", "it uses auto_pad"),
    (PooledIn9, f"h = Conv <pads = [1, 1, 1, 1], group = 3> (x, grouped)  y = {POOL} (h)", "it is grouped"),
    (PooledIn9, f"h = Conv <pads = [1, 1, 1, 1]> (x, computed)  y = {POOL} (h)", "its weight is not constant"),
    (PooledIn9, f"h = Conv <pads = [1, 1, 1, 1]> (x, w, computed_bias)  y = {POOL} (h)", "its bias is not constant"),
    (PooledIn16, "h = Conv <pads = [1, 1, 1, 1]> (x, w)  y = AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (h)",
     "the pool is not 2x2"),
    (PooledIn16, f"h = Conv <pads = [1, 1, 1, 1]> (x, w)  p = {POOL} (h)  q = GlobalAveragePool (h)  y = Add (p, q)",
     "another node reads an intermediate value"),
    (EnlargedIn9, "h = Resize <mode = \"linear\"> (x, , doubled)  y = Conv <pads = [1, 1, 1, 1]> (h, w)",
     "the resize is not nearest"),
    (EnlargedIn9, f"h = {DOUBLE} (x, , tripled)  y = Conv <pads = [1, 1, 1, 1]> (h, w)",
     "the resize is not by a constant factor of 2"),
    (EnlargedIn9, "h = Resize <coordinate_transformation_mode = \"align_corners\"> (x, , doubled)"
     "  y = Conv <pads = [1, 1, 1, 1]> (h, w)", "samples its pixels differently"),
    (EnlargeLast, f"h = {DOUBLE} (x, , doubled)  y = Conv <pads = [1, 1, 1, 1]> (h, w1)", "its border is not 0"),
    (PoolFirst, "h = Conv (x, w1)  y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1]> (h)",
     "the pool is not 2x2"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "nodes", "reason"), DECLINED, ids=[reason for *_, reason in DECLINED])
def test_it_declines_with_a_reason_what_would_not_be_exact(kind: type[ExactRule], nodes: str, reason: str):
    draws = np.random.RandomState(0)
    model = graph(
        nodes, "float[N, 3, 8, 8] x, float[3, 3, 3, 3] computed, float[3] computed_bias", "float[N, 3, H, W] y",
        w=draws.standard_normal((3, 3, 3, 3)), w1=draws.standard_normal((3, 3, 1, 1)),
        grouped=draws.standard_normal((3, 1, 3, 3)), doubled=[1.0, 1.0, 2.0, 2.0], tripled=[1.0, 1.0, 3.0, 3.0],
    )  # fmt: skip
    before = operators(model)
    outcome = apply_rules(model, kind)
    assert outcome.fired == 0
    assert operators(model) == before
    assert len(outcome.declined) == 1
    assert reason in outcome.declined[0]


def test_another_kernel_is_another_rewrites_place_and_not_a_refusal():
    model = place(PLACES["shortcut pooled"])
    assert apply_rules(model, PooledIn9) == apply_rules(model, EnlargedIn9)
    assert apply_rules(model, PooledIn9).declined == ()


@pytest.mark.parametrize("kind", [EnlargedIn9, EnlargedIn16, EnlargedInPhases, PooledIn16])
def test_a_weight_that_two_layers_share_serves_both(kind):
    layer = PLACES["pooled without a bias" if kind is PooledIn16 else "enlarged without a bias"]
    second = layer.replace("(x", "(m").replace("h =", "k =").replace("(h", "(k")
    nodes = layer.replace("y =", "m =") + "  " + second
    model, before = place(nodes, 4, 4), place(nodes, 4, 4)
    assert apply_rules(model, kind).fired == 2
    x = np.random.RandomState(1).standard_normal((1, 4, 8, 8)).astype(np.float32)
    expected = run(before, x)
    assert np.abs(run(model, x) - expected).max() < 1e-6 * np.abs(expected).max()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_a_networks_own_transposed_4x4_becomes_four_2x2(height, width, channels, biased):
    draws = np.random.RandomState(height)
    nodes = f"y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w{', b' if biased else ''})"
    model, before = (
        graph(nodes, "float[N, 3, H, W] x", f"float[N, {channels}, H2, W2] y", w=weight, b=bias)
        for weight, bias in [(draws.standard_normal((3, channels, 4, 4)), draws.standard_normal(channels))]
        for _ in range(2)
    )
    assert apply_rules(model, SpreadInPhases).fired == 1
    assert operators(model) == {"Conv": 4, "Concat": 1, "DepthToSpace": 1}
    images = draws.standard_normal((2, 3, height, width)).astype(np.float32)
    assert gap(model, before, images) < 1e-5


@pytest.mark.parametrize("change", [
    ("strides = [2, 2]", "strides = [1, 1]"), ("pads = [1, 1, 1, 1]", "pads = [0, 0, 0, 0]"),
    ("pads = [", "output_padding = [1, 1], pads = ["), ("pads = [", "dilations = [2, 2], pads = ["),
])  # fmt: skip
def test_other_transposed_convolutions_are_left_alone(change):
    nodes = "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)".replace(*change)
    outcome = apply_rules(
        graph(nodes, "float[N, 3, H, W] x", "float[N, 3, H2, W2] y", w=np.ones((3, 3, 4, 4))), SpreadInPhases
    )
    assert outcome == Outcome(0, ("y: it is not 4x4 with stride 2 and a border of 1",))
