"""Products of a row with a computed matrix, as sums."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import gap, graph, operators

from starcast.export.gate.candidates import difference, open_session
from starcast.export.passes.row_sums import sum_row_products
from starcast.export.targets.tensorrt import without_products

DRAWS = np.random.RandomState(0)


def heads() -> ir.Model:
    """A row times the head that its number chooses."""
    return graph(
        "w = Gather <axis = 0> (heads, domain)  y = MatMul (x, w)", "float[n, 1, 5] x, int64[n] domain",
        "float[n, 1, 3] y", heads=DRAWS.standard_normal((4, 5, 3)),
    )  # fmt: skip


def test_a_rows_product_becomes_a_sum_with_the_same_numbers():
    model, before = heads(), heads()
    model.graph.initializers["heads"].const_value = before.graph.initializers["heads"].const_value
    outcome = sum_row_products(model, {"n": 2})
    assert (outcome.fired, outcome.declined) == (1, ())
    assert operators(model) == {"Gather": 1, "Transpose": 1, "Mul": 1, "ReduceSum": 1}
    rows, domain = DRAWS.standard_normal((6, 1, 5)).astype(np.float32), np.arange(6) % 4
    assert gap(model, before, rows, domain) < 1e-6


@pytest.mark.parametrize(("inputs", "output"), [
    ("float[n, 2, 5] x, float[n, 5, 3] w", "float[n, 2, 3] y"), ("float[n, 1, 5] x, float[5, 3] w", "float[n, 1, 3] y"),
], ids=["two rows", "a matrix for all"])  # fmt: skip
def test_other_products_are_left_with_the_reason(inputs, output):
    model = graph("y = MatMul (x, w)", inputs, output)
    outcome = sum_row_products(model, {"n": 2})
    assert outcome.declined == ("y: it is no product of one row with a matrix of as many axes",)
    assert operators(model) == {"MatMul": 1}


@pytest.mark.parametrize("name", ["mapping", "style_encoder"])
def test_graphs_of_styles_are_left_without_a_matrix_product(small, name):
    before, model = (ir.load(getattr(small, name)) for _ in range(2))
    without_products(model)
    assert not {"Gemm", "MatMul"} & set(operators(model))
    domain = np.array([0, 2, 1])
    given = (
        DRAWS.standard_normal((3, small.config.latent_dim)).astype(np.float32)
        if name == "mapping" else DRAWS.randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    )  # fmt: skip
    feeds = {str(before.graph.inputs[0].name): given, "domain": domain}
    got, expected = (open_session(graph).run(None, feeds)[0] for graph in (model, before))
    assert difference(got, expected) < 1e-5
