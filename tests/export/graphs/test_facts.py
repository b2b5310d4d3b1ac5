"""Constants that rewrites add to a graph."""

from __future__ import annotations

import numpy as np
from small_graphs import graph

from starcast.export.graphs.facts import add_constant


def test_equal_numbers_of_a_name_are_one_constant_and_others_get_a_number():
    model = graph("y = Add (x, w)", "float[N, 3] x", "float[N, 3] y", w=np.ones(3))
    first = add_constant(model.graph, "c", np.arange(3.0))
    assert add_constant(model.graph, "c", np.arange(3.0)) is first
    second = add_constant(model.graph, "c", np.arange(3.0) + 1)
    assert second.name == "c.2"
    assert add_constant(model.graph, "c", np.arange(3.0) + 1) is second
    assert add_constant(model.graph, "c", np.arange(3)).name == "c.3"  # whole numbers are other numbers
    assert set(model.graph.initializers) == {"w", "c", "c.2", "c.3"}
