"""The style's matrix product as sums of products: the same numbers, for any number of styles."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph, operators, run

from starcast.export.passes.product_sums import sum_style_products

PRODUCT = "g = Gemm <transB = 1> (style, w, b)  y = Sigmoid (g)"


def network(nodes: str = PRODUCT):
    draws = np.random.RandomState(0)
    return graph(
        nodes, "float[styles, 4] style, float[6, 4] computed", "float[styles, 6] y", w=draws.standard_normal((6, 4)),
        b=draws.standard_normal(6), turned=draws.standard_normal((4, 6)),
    )  # fmt: skip


@pytest.mark.parametrize("nodes", [
    PRODUCT, PRODUCT.replace(", b)", ")"), "y = Gemm <transB = 1> (style, w, b)",
], ids=["a bias", "no bias", "the graph's output"])  # fmt: skip
@pytest.mark.parametrize("styles", [1, 5])
def test_the_numbers_stay(nodes, styles):
    model = network(nodes)
    outcome = sum_style_products(model)
    assert (outcome.fired, outcome.declined) == (1, ())
    assert "Gemm" not in operators(model)
    style = np.random.RandomState(1).standard_normal((styles, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, style), run(network(nodes), style), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nodes", [
    "y = Gemm (style, turned, b)", PRODUCT.replace("w, b", "computed, b"),
    PRODUCT.replace("transB = 1", "transB = 1, alpha = 2.0"),
])  # fmt: skip
def test_another_product_stays_and_says_why(nodes):
    outcome = sum_style_products(network(nodes))
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [
        "it is no x W^T + b with constant weights"
    ]
