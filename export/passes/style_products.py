"""Joins the style's matrix products into one, and moves the 1 of AdaIN's 1 + gamma into its bias.

[Gemm(s, W_k, b_k)]          -> Split(Gemm(s, [W_1; W_2; …], [b_1; b_2; …]))
1 + Split(Gemm(s, W, b))[0]  -> Split(Gemm(s, W, b + (1, …, 1, 0, …, 0)))[0]
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.graphs.facts import add_constant, is_linear, known_numbers, numbers, readers, scalar
from starcast.export.passes.rule import Outcome


def fold_one_plus_gamma(model: ir.Model) -> Outcome:
    """Move constants that are added to a part of a matrix product into its bias."""
    fired, declined = 0, []
    for node in list(model.graph):
        if node.op_type != "Add":
            continue
        for part, constant in (tuple(node.inputs), tuple(reversed(node.inputs))):
            number = scalar(constant)
            split = _producer(part, "Split")
            if number is None or split is None:
                continue
            reason = _why_not_into_bias(node, split)
            if reason is not None:
                declined.append(f"{node.name}: {reason}")
                continue
            assert part is not None
            _add_to_bias(model.graph, split, split.outputs.index(part), number)
            node.outputs[0].replace_all_uses_with(part)
            model.graph.remove(node, safe=True)
            fired += 1
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(declined))


def join_style_products(model: ir.Model) -> Outcome:
    """Join a graph input's matrix products with constant weights into one product and a Split."""
    graph = model.graph
    groups: dict[ir.Value, list[ir.Node]] = defaultdict(list)
    declined = []
    for node in graph:
        if node.op_type == "Gemm" and node.inputs[0] is not None and node.inputs[0].is_graph_input():
            if _is_joinable(node):
                groups[node.inputs[0]].append(node)
            else:
                declined.append(f"{node.name}: it is no x W^T + b with constant weights")
    fired = 0
    for style, products in groups.items():
        if len(products) > 1:
            _join(graph, style, products)
            fired += len(products)
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(declined))


def _producer(value: ir.Value | None, operator: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == operator else None


def _gemm_behind(split: ir.Node) -> ir.Node | None:
    """The product whose output, perhaps reshaped to [N, C, 1, 1], is split along its channels."""
    if split.attributes.get_int("axis", 0) != 1:
        return None
    reshape = _producer(split.inputs[0], "Reshape") or _producer(split.inputs[0], "Unsqueeze")
    return _producer(reshape.inputs[0] if reshape is not None else split.inputs[0], "Gemm")


def _why_not_into_bias(add: ir.Node, split: ir.Node) -> str | None:
    gemm = _gemm_behind(split)
    if gemm is None or not _is_joinable(gemm):
        return "it is not added to a part of a matrix product with constant weights"
    between = [gemm.outputs[0], split.inputs[0]]
    if any(len(readers(value)) > 1 for value in between if value is not None):
        return "the product has other readers"
    part = add.inputs[0] if add.inputs[0] in split.outputs else add.inputs[1]
    assert part is not None
    return "the part is also read without the constant" if len(readers(part)) > 1 else None


def _add_to_bias(graph: ir.Graph, split: ir.Node, part: int, number: float) -> None:
    gemm = _gemm_behind(split)
    assert gemm is not None
    bias = _bias(gemm)
    widths = _widths(split, len(bias))
    start = sum(widths[:part])
    changed = bias.astype(np.float64)
    changed[start : start + widths[part]] += number
    gemm.resize_inputs(3)
    gemm.replace_input_with(2, add_constant(graph, f"{gemm.name}.bias.plus", changed.astype(np.float32)))


def _widths(split: ir.Node, total: int) -> list[int]:
    given = numbers(split.inputs[1]) if len(split.inputs) > 1 else None
    if given is not None:
        return [int(width) for width in given]
    count = len(split.outputs)
    return [total // count] * count


def _is_joinable(gemm: ir.Node) -> bool:
    """Whether a Gemm is x W^T + b with constant weights and a vector b."""
    bias = numbers(gemm.inputs[2]) if len(gemm.inputs) > 2 else None
    return is_linear(gemm) and (bias is None or bias.ndim == 1)


def _bias(gemm: ir.Node) -> Any:
    """A Gemm's bias; zeros if it has none, because exporters leave out a bias of zeros."""
    given = numbers(gemm.inputs[2]) if len(gemm.inputs) > 2 else None
    return np.zeros(len(known_numbers(gemm.inputs[1])), np.float32) if given is None else given


def _join(graph: ir.Graph, style: ir.Value, products: list[ir.Node]) -> None:
    weights = [known_numbers(product.inputs[1]) for product in products]
    biases = [_bias(product) for product in products]
    weight = add_constant(graph, "style.weight", np.concatenate(weights))
    bias = add_constant(graph, "style.bias", np.concatenate(biases))
    joined = ir.node("Gemm", [style, weight, bias], {"transB": 1}, name="style.product")
    widths = add_constant(graph, "style.widths", np.array([len(part) for part in biases], np.int64))
    split = ir.node(
        "Split", [joined.outputs[0], widths], {"axis": 1}, num_outputs=len(products), name="style.parts"
    )  # fmt: skip
    joined.outputs[0].name = "style.product"
    graph.insert_before(products[0], [joined, split])
    for product, part in zip(products, split.outputs, strict=True):
        part.name = f"{product.name}.part"
        product.outputs[0].replace_all_uses_with(part)
        graph.remove(product, safe=True)
