"""Every operator of the table gives ONNX Runtime's numbers, and what it cannot do it refuses in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_graphs import graph, run

from starcast.errors import EngineError
from starcast.export.torch_engine.graph import TorchGraph
from starcast.export.torch_engine.operators import ELEMENTWISE, OPERATORS

X = "float[n, 4, 6, 8] x"
DRAWS = np.random.default_rng(3)
PICTURES = DRAWS.standard_normal((2, 4, 6, 8)).astype(np.float32)
CONSTANTS = {
    "w": DRAWS.standard_normal((4, 4, 3, 3)), "b": DRAWS.standard_normal(4),
    "grouped": DRAWS.standard_normal((8, 2, 3, 3)), "matrix": DRAWS.standard_normal((8, 5)),
    "turned": DRAWS.standard_normal((5, 192)), "row": DRAWS.standard_normal(5),
    "column": DRAWS.standard_normal((4, 1, 1)),
    "variance": [0.5, 1.0, 2.0, 3.0], "sides": [9, 5],
    "low": -0.5, "high": 0.25, "two": 2.0, "scales": [1.0, 1.0, 2.0, 2.0],
    "one": [1], "behind": [-1], "ends": [2, 3], "parts": [1, 3], "order": [2, 0], "shape": [0, -1, 4],
    "starts": [1, -7], "stops": [4, 1000], "axes": [1, 3], "steps": [1, 3], "first": [0, 1], "last": [1, -1],
    "pads": [0, 0, 1, 2, 0, 0, 0, 3],
}  # fmt: skip
DOUBLED = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'

# what the graphs of networks say, and the corners of each operator
WRITTEN = [
    "y = Add(x, column)", "y = Sub(x, two)", "y = Mul(x, column)", "y = Div(x, two)", "y = Max(x, low, column)",
    "y = Min(x, column)", "y = Neg(x)", "y = Exp(x)", "y = Tanh(x)", "y = Sigmoid(x)", "y = Relu(x)", "y = Identity(x)",
    "a = Abs(x) r = Sqrt(a) y = Reciprocal(r)", "a = Abs(x) y = Pow(a, two)", "y = Round(x)", "y = MatMul(x, matrix)",
    "l = Less(x, low) y = Where(l, two, x)", "g = GreaterOrEqual(x, column) y = Where(g, x, column)",
    "a = Sqrt(x) n = IsNaN(a) y = Where(n, two, a)",
    "y = BatchNormalization <epsilon = 0.01> (x, b, b, b, variance)",
    "y = LeakyRelu <alpha = 0.2> (x)", "y = LeakyRelu(x)",
    "y = Clip(x, low, high)", "y = Clip(x, , high)", "y = Clip(x)",
    "y = Cast <to = 7> (x)", "h = Cast <to = 10> (x) y = Cast <to = 1> (h)",
    "y = Transpose <perm = [0, 2, 3, 1]> (x)", "y = Transpose(x)",
    "y = Concat <axis = 1> (x, x)", "y = Concat <axis = -1> (x, x)",
    "y = Conv(x, w, b)", "y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)",
    "y = Conv <pads = [1, 0, 0, 2]> (x, w)", "y = Conv <group = 2, dilations = [2, 1]> (x, grouped)",
    "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)",
    "y = ConvTranspose <strides = [2, 2], output_padding = [1, 1]> (x, w)",
    "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    "y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
    "y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (x)",
    "y = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 1], count_include_pad = 1> (x)",
    "y = DepthToSpace <blocksize = 2, mode = \"DCR\"> (x)", "y = DepthToSpace <blocksize = 2, mode = \"CRD\"> (x)",
    "y = Flatten(x)", "y = Flatten <axis = 2> (x)",
    "y = Gather <axis = 1> (x, order)", "y = Gather <axis = -1> (x, behind)",
    "f = Flatten(x) y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, turned, row)",
    "f = Flatten(x) y = Gemm <transB = 1> (f, turned)",
    "y = Pad(x, pads, two)", "y = Pad <mode = \"reflect\"> (x, pads)",
    "y = ReduceMean(x, ends)", "y = ReduceMean <keepdims = 0> (x, behind)", "y = ReduceMean(x)",
    "y = ReduceMax <keepdims = 0> (x, ends)", "y = ReduceMin(x, ends)",
    "y = ReduceSum(x, ends)", "y = ReduceSum <noop_with_empty_axes = 1> (x)",
    "y = Reshape(x, shape)",
    f"y = Resize <{DOUBLED}> (x, , scales)",
    "y = Resize <mode = \"linear\", axes = [2, 3]> (x, , , sides)",
    "s = Shape <start = 0, end = 2> (x) o = Concat <axis = 0> (s, sides) y = Resize <mode = \"linear\"> (x, , , o)",
    "y = Slice(x, starts, stops, axes, steps)", "y = Slice(x, first, last)",
    "y, z = Split <axis = 1> (x, parts)", "z, y = Split <axis = 1, num_outputs = 2> (x)",
    "u, v, y = Split <axis = 3, num_outputs = 3> (x)",
    "u = Unsqueeze(x, one) y = Squeeze(u, one)", "u = Unsqueeze(x, axes) y = Squeeze(u)", "y = Unsqueeze(x, behind)",
    "y = InstanceNormalization <epsilon = 0.001> (x, b, b)",
    "n = InstanceNormalization <epsilon = 0.001> (x, b, b) y = LeakyRelu <alpha = 0.3> (n)",
]  # fmt: skip


@pytest.mark.parametrize("nodes", WRITTEN)
def test_an_operator_gives_onnx_runtimes_numbers(nodes):
    kind = "int64" if "to = 7" in nodes else "float"
    model = graph(nodes, X, f"{kind}[] y", **CONSTANTS)
    model.graph.outputs[0].shape = None
    expected = run(model.clone(), PICTURES)
    with torch.inference_mode():
        got = TorchGraph(model)({"x": torch.tensor(PICTURES)}).numpy()
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_every_operator_of_the_tables_is_among_them():
    known = " ".join(WRITTEN)
    assert [name for name in (*ELEMENTWISE, *OPERATORS) if f"{name}(" not in known and f"{name} <" not in known] == []


def test_whole_numbers_are_divided_as_onnx_does():
    model = graph("y = Div(x, d)", "int64[4] x", "int64[4] y", d=[2, 2, -2, 3])
    values = np.array([7, -7, 7, -8])
    assert TorchGraph(model)({"x": torch.tensor(values)}).tolist() == [3, -3, -3, -2]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("y = Softmax(x)", "does not support"),
        ("y = Conv <auto_pad = \"SAME_UPPER\"> (x, w)", "uses auto_pad"),
        ("y = ConvTranspose <pads = [1, 0, 0, 0]> (x, w)", "borders differ"),
        ("y = ConvTranspose <output_shape = [12, 16]> (x, w)", "output's shape is given"),
        ("y = AveragePool <kernel_shape = [2]> (x)", "not two-dimensional"),
        ("y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", "gaps"),
        ("y = Resize <mode = \"linear\"> (x, , scales)", "not nearest"),
        ("y = Pad <mode = \"edge\"> (x, pads)", "padding mode is unknown"),
        ("s = Shape(x) y = Reshape(x, s)", "does not support"),
        ("y = Slice(x, starts, stops, axes, back)", "backwards"),
        ("n = Neg(one) y = Unsqueeze(x, n)", "a shape is computed"),
        ("n = Neg(two) y = Clip(x, n)", "a bound is computed"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_the_nodes_name_and_the_reason(nodes, reason):
    model = graph(nodes, X, "float[] y", **CONSTANTS, back=[-1, -1])
    with pytest.raises(EngineError, match=rf"^[sy] is a \w+.*{reason}"):
        TorchGraph(model)
