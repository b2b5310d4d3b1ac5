"""2x2 means become convolutions of one channel each: the same numbers, at the borders too."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph, operators

from starcast.export.passes.grouped_boxes import group_boxes

HALVED = "kernel_shape = [2, 2], strides = [2, 2]"
SLID = "kernel_shape = [2, 2]"
COUNTED = "kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1"


def network(attributes: str, channels: str = "6"):
    return graph(
        f"a = Relu (x)  y = AveragePool <{attributes}> (a)", f"float[N, {channels}, H, W] x",
        f"float[N, {channels}, H2, W2] y",
    )  # fmt: skip


@pytest.mark.parametrize("attributes", [HALVED, SLID, COUNTED], ids=["halved", "slid", "a border of zeros that counts"])
@pytest.mark.parametrize("size", [(8, 6), (7, 9)], ids=["even", "odd"])
def test_a_mean_of_2x2_squares_becomes_a_convolution_a_channel(attributes, size):
    model, before = network(attributes), network(attributes)
    outcome = group_boxes(model)
    assert (outcome.fired, outcome.declined) == (1, ())
    assert operators(model) == {"Relu": 1, "Conv": 1}
    images = np.random.RandomState(1).standard_normal((2, 6, *size)).astype(np.float32)
    assert gap(model, before, images) < 1e-6


def test_pools_of_as_many_channels_share_their_weights():
    nodes = f"a = AveragePool <{SLID}> (x)  b = AveragePool <{HALVED}> (a)  y = Relu (b)"
    model = graph(nodes, "float[N, 6, H, W] x", "float[N, 6, H2, W2] y")
    assert group_boxes(model).fired == 2
    assert [value.shape for value in model.graph.initializers.values()] == [(6, 1, 2, 2)]


@pytest.mark.parametrize(("attributes", "channels", "reason"), [
    ("kernel_shape = [4, 4], strides = [4, 4]", "6", "its squares are not 2x2"),
    (f"{SLID}, auto_pad = \"SAME_UPPER\"", "6", "it uses auto_pad"),
    (f"{HALVED}, ceil_mode = 1", "6", "its last squares may lie outside the map (ceil_mode)"),
    (f"{SLID}, pads = [1, 1, 1, 1]", "6", "its border is not counted in the mean"),
    (SLID, "C", "its channels are unknown"),
])  # fmt: skip
def test_it_declines_with_a_reason(attributes, channels, reason):
    model = network(attributes, channels)
    outcome = group_boxes(model)
    assert (outcome.fired, outcome.declined) == (0, (f"y: {reason}",))
    assert operators(model) == {"Relu": 1, "AveragePool": 1}


def test_squares_with_gaps_are_left():
    model = network(f"{SLID}, dilations = [2, 2]")
    model.graph.opset_imports[""] = 19  # which brought the gaps
    assert group_boxes(model).declined == ("y: its squares have gaps",)


def test_a_graph_without_pools_stays_as_it_is():
    model = graph("y = Relu (x)", "float[N, 6, H, W] x", "float[N, 6, H, W] y")
    assert group_boxes(model).fired == 0
