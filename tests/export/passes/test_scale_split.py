"""What a style alone decides leaves the frame graph, which takes the scales as one vector."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from small_graphs import gap, graph, operators, run

from starcast.export.passes.scale_split import split_off_scales

NODES = """
    first = Gather <axis = 1> (style, at0)
    second = Gather <axis = 1> (style, at1)
    scale = Gemm <transB = 1> (first, affine, shift)
    column = Unsqueeze (scale, axes)
    scaled = Mul (start, column)
    conv = Conv <pads = [1, 1, 1, 1]> (scaled, weight)
    squares = Mul (scale, scale)
    norms = Gemm <transB = 1> (squares, affine, shift)
    divisor = Unsqueeze (norms, axes)
    made = Mul (conv, divisor)
    noisy = Add (made, noise)
    last = Gemm <transB = 1> (second, affine, shift)
    last_column = Unsqueeze (last, axes)
    y = Mul (noisy, last_column)
"""
DRAWS = np.random.RandomState(0)
CONSTANTS = {
    "at0": np.array(0), "at1": np.array(1), "axes": np.array([2, 3]), "affine": DRAWS.standard_normal((3, 5)),
    "shift": DRAWS.standard_normal(3), "start": DRAWS.standard_normal((1, 3, 4, 6)),
    "weight": DRAWS.standard_normal((3, 3, 3, 3)),
}  # fmt: skip
INPUTS, OUTPUTS = "float[batch, 2, 5] style, float[styles, 1, 4, 6] noise", "float[batch, 3, 4, 6] y"


def small() -> ir.Model:
    return graph(
        NODES.replace("norms = Gemm <transB = 1> (squares, affine", "norms = Gemm <transB = 1> (squares, mixing"),
        INPUTS, OUTPUTS, mixing=np.abs(DRAWS.standard_normal((3, 3))), **CONSTANTS,
    )  # fmt: skip


def test_all_work_on_the_style_but_convolutions_is_cut_off() -> None:
    model = small()
    plain = model.clone()
    work = split_off_scales(model, 4)
    assert work is not None
    assert operators(model) == {"Split": 1, "Reshape": 3, "Conv": 1, "Mul": 2, "Add": 1}
    assert [value.name for value in model.graph.inputs] == ["gamma_beta", "noise"]
    assert [value.name for value in work.graph.inputs] == ["style"]
    assert "Conv" not in operators(work)
    assert not set(work.graph.initializers) & {"weight"}
    [scales] = work.graph.outputs
    assert (scales.name, list(scales.shape or ())[1:]) == ("gamma_beta", [3 * 4 * 6 + 3 + 3])
    for count in (1, 3):
        style = DRAWS.standard_normal((count, 2, 5)).astype(np.float32)
        for rows in {1, count}:
            noise = DRAWS.standard_normal((rows, 1, 4, 6)).astype(np.float32)
            expected = run(plain, style, noise)
            np.testing.assert_allclose(run(model, run(work, style), noise), expected, rtol=1e-5, atol=1e-5)


def test_a_graph_without_a_product_of_the_style_keeps_it() -> None:
    model = graph(
        "column = Unsqueeze (style, axes)  y = Mul (noise, column)",
        "float[batch, 3] style, float[batch, 3, 4, 6] noise", OUTPUTS, axes=np.array([2, 3]),
    )  # fmt: skip
    before = model.clone()
    assert split_off_scales(model, 4) is None
    style, noise = (DRAWS.standard_normal(shape).astype(np.float32) for shape in ((2, 3), (2, 3, 4, 6)))
    assert gap(model, before, style, noise) == 0
    assert [value.name for value in model.graph.inputs] == ["style", "noise"]
