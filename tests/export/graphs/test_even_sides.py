"""Which maps have an even height and width for every size of images."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph

from starcast.export.graphs.even_sides import remainder_of_sides

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
