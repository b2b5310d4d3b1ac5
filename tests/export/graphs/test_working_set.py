from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph

from starcast.export.graphs.cost import working_bytes

SIZES = {"batch": 1, "height": 4, "width": 4}
PLANE = 4 * 4 * 4  # bytes of a channel of float32


def test_a_chain_needs_two_neighbours_at_a_time():
    weight = np.zeros((8, 2, 1, 1))
    model = graph("a = Conv (x, w)  b = Relu (a)  y = Neg (b)", "float[batch, 2, height, width] x",
                  "float[batch, 8, height, width] y", w=weight)  # fmt: skip
    assert working_bytes(model, SIZES) == 2 * 8 * PLANE


def test_a_value_that_is_read_again_later_lives_until_then():
    model = graph("a = Neg (x)  b = Neg (a)  c = Neg (b)  y = Add (c, x)", "float[batch, 2, height, width] x",
                  "float[batch, 2, height, width] y")  # fmt: skip
    assert working_bytes(model, SIZES) == 3 * 2 * PLANE


def test_bytes_are_those_of_the_type_and_of_the_size():
    model = graph("y = Identity (x)", "uint8[batch, height, width, 3] x", "uint8[batch, height, width, 3] y")
    assert working_bytes(model, SIZES) == 2 * 48
    assert working_bytes(model, {**SIZES, "height": 8}) == 2 * 96


def test_a_shape_that_is_not_known_is_named():
    model = graph("s = Shape (x)  e = NonZero (x)  y = Neg (x)", "float[batch, 2, height, width] x",
                  "float[batch, 2, height, width] y")  # fmt: skip
    with pytest.raises(ValueError, match="its shape .* is not known"):
        working_bytes(model, SIZES)
