"""The last convolution as sums over channels: the same numbers, better ones in half."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import gap, graph, operators, run

from starcast.export.passes.half import to_half
from starcast.export.passes.last_sums import sum_last_convolutions

LAST = "c = Conv (x, w0)  l = LeakyRelu (c)  z = Conv (l, w, b)  r = Round (z)  y = Clip (r)"


def network(nodes: str = LAST, channels: int = 3):
    draws = np.random.RandomState(0)
    return graph(
        nodes, f"float[N, 8, H, W] x, float[{channels}, 8, 1, 1] computed", f"float[N, {channels}, H, W] y",
        w0=draws.standard_normal((8, 8, 1, 1)), w=draws.standard_normal((channels, 8, 1, 1)),
        b=draws.standard_normal(channels),
    )  # fmt: skip


def images():
    return np.random.RandomState(1).standard_normal((2, 8, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("nodes", [
    LAST, LAST.replace(", b)", ")"), LAST.split("z = ")[0] + "y = Conv (l, w, b)",
], ids=["a bias", "no bias", "the graph's output"])  # fmt: skip
def test_the_numbers_stay(nodes):
    model, before = network(nodes), network(nodes)
    outcome = sum_last_convolutions(model)
    assert (outcome.fired, outcome.declined) == (1, ())
    assert operators(model)["Conv"] == 1
    assert operators(model)["ReduceSum"] == 3
    assert gap(model, before, images()) < 1e-6


def test_halfs_numbers_are_summed_in_float32_and_not_rounded_again():
    model = network()
    to_half(model, ir.DataType.FLOAT16)
    assert sum_last_convolutions(model).fired == 1
    kinds = {node.op_type: node.outputs[0].dtype for node in model.graph}
    assert (kinds["LeakyRelu"], kinds["ReduceSum"], kinds["Round"]) == (ir.DataType.FLOAT16, *[ir.DataType.FLOAT] * 2)
    casts = [node for node in model.graph if node.op_type == "Cast"]
    assert len(casts) == 2  # into half, and back in front of the sums
    grey = model.clone()
    [before_rounding] = [node.inputs[0] for node in grey.graph if node.op_type == "Round"]
    before_rounding.type = ir.TensorType(ir.DataType.FLOAT)
    grey.graph.outputs[:] = [before_rounding]
    assert not (run(grey, images()) == run(grey, images()).astype(np.float16)).all()


@pytest.mark.parametrize(("nodes", "channels", "reason"), [
    (LAST.replace("(l, w, b)", "(l, computed, b)"), 3, "z: its weight is not constant"),
    (LAST.replace("Conv (l", "Conv <strides = [2, 2]> (l"), 3, "z: its strides are not 1"),
    (LAST, 5, "z: it has more than 4 channels"),
])  # fmt: skip
def test_it_declines_with_a_reason(nodes, channels, reason):
    outcome = sum_last_convolutions(network(nodes, channels))
    assert (outcome.fired, outcome.declined) == (0, (reason,))


def test_convolutions_that_others_follow_stay():
    model = network("c = Conv (x, w0)  l = LeakyRelu (c)  y = Conv (l, w)")
    sum_last_convolutions(model)
    assert [node.name for node in model.graph if node.op_type == "Conv"] == ["c"]
