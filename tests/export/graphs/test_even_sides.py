"""Which maps have an even height and width for every size of images."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph

from starcast.export.graphs.even_sides import remainder_of_sides, set_multiple

UP = "u = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w4)  "
NEAREST = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'


@pytest.mark.parametrize(("nodes", "remainder"), [
    (UP + "y = Relu (u)", 0),
    (UP + "y = Conv <pads = [1, 1, 1, 1]> (u, w3)", 0),
    (UP + "y = Conv (u, w3)", 0),
    (UP + "y = Conv (u, w4)", 1),
    (UP + "y = Conv <strides = [2, 2]> (u, w4)", None),
    (UP + "y = Conv <pads = [1, 0, 1, 1]> (u, w3)", None),
    (UP + "y = ConvTranspose (u, w4)", 1),
    (UP + "y = Add (x, u)", 0),
    ("y = ConvTranspose <strides = [2, 2]> (x, w3)", 1),
    ("y = ConvTranspose <strides = [2, 2], output_padding = [1, 1]> (x, w3)", None),
    ("u = ConvTranspose <strides = [2, 2]> (x, w3)  y = AveragePool <kernel_shape = [2, 2]> (u)", 0),
    (f"y = {NEAREST} (x, , twice)", 0),
    ("y = DepthToSpace <blocksize = 2> (x)", 0),
    ("y = Relu (x)", None),
])  # fmt: skip
def test_a_maps_sides(nodes, remainder):
    draws = np.random.RandomState(0)
    model = graph(
        nodes, "float[N, 4, H, W] x", "float[N, C, H2, W2] y", w3=draws.standard_normal((4, 4, 3, 3)),
        w4=draws.standard_normal((4, 4, 4, 4)), twice=[1.0, 1.0, 2.0, 2.0],
    )  # fmt: skip
    assert remainder_of_sides(model.graph.outputs[0]) == remainder


HALF = "Conv <strides = [2, 2], pads = [1, 1, 1, 1]>"


@pytest.mark.parametrize(("multiple", "nodes", "remainder"), [
    (4, "y = Relu (x)", 0),
    (3, "y = Relu (x)", None),
    (4, f"y = {HALF} (x, w4)", 0),
    (2, f"y = {HALF} (x, w4)", None),
    (4, f"a = {HALF} (x, w4)  b = Relu (a)  y = {HALF} (b, w4)", None),
    (8, f"a = {HALF} (x, w4)  b = Relu (a)  y = {HALF} (b, w4)", 0),
    (4, "y = Conv <strides = [2, 2]> (x, w4)", 1),  # (4 n - 4) // 2 + 1
    (4, "y = Conv <strides = [2, 2]> (x, w3)", 1),  # (4 n - 3) // 2 + 1 = 2 n - 1
    (4, "y = Conv (x, w3)", 0),
    (4, "y = Conv (x, w4)", 1),
    (4, "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)", 0),
    (2, "y = Concat <axis = 1> (x, x)", 0),
    (2, "y = Concat <axis = 2> (x, x)", None),
])  # fmt: skip
def test_a_maps_sides_where_those_of_images_are_multiples_of_a_number(multiple, nodes, remainder):
    draws = np.random.RandomState(0)
    model = graph(
        nodes, "float[N, 4, H, W] x", "float[N, C, H2, W2] y", w3=draws.standard_normal((4, 4, 3, 3)),
        w4=draws.standard_normal((4, 4, 4, 4)),
    )  # fmt: skip
    set_multiple(model.graph.inputs[0], multiple)
    assert remainder_of_sides(model.clone().graph.outputs[0]) == remainder
