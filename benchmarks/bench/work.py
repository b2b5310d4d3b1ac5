"""How much an image costs in each graph, counted without running it: FLOP, weights, and what convolutions move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from starcast.benchmarks.bench.rows import Row
from starcast.export.graphs.cost import count_flop, weight_bytes
from starcast.export.graphs.facts import at_size
from starcast.export.passes.forms import apply_form
from starcast.runtime.bundle import Bundle

LEAST = "taps16"  # the form whose convolutions read and write least
# bytes of a number in a feature map; 2 for other precisions: int8 and fp8 store fp16 between layers on a GPU
ITEM_BYTES = {
    "fp32": 4,
    "tf32": 4,
}


@dataclass(frozen=True)
class Work:
    """The work for one image. Tables are by graph file; None is the plain graph, whose arithmetic is the trained
    network's.

    `flop`: of the convolutions; a multiply-add is two. `numbers`: how many numbers the convolutions of the cheapest
    form read and write, each counted once; `moved`: the same of each graph, where it can be counted. `weights`: bytes.
    """

    flop: Mapping[str | None, int]
    numbers: int
    moved: Mapping[str | None, int] = field(default_factory=dict)
    weights: Mapping[str | None, int] = field(default_factory=dict)

    def bytes(self, precision: str) -> int:
        """The bytes of these numbers in a precision."""
        return self.numbers * ITEM_BYTES.get(precision, 2)

    def row_json(self, row: Row) -> dict[str, Any]:
        """A row's work; None where it is unknown. Megabytes of feature maps are given for float32 alone, because
        engines choose what they store between the layers of smaller precisions."""
        moved, weights = self.moved.get(row.variant), self.weights.get(row.variant)
        if row.precision != "fp32":
            moved = None
        return {
            "flop": self.flop.get(row.variant),
            "weights_mb": None if weights is None else round(weights / 1e6, 3),
            "convolutions_mb": None if moved is None else round(moved * ITEM_BYTES["fp32"] / 1e6, 3),
        }


def work_of(plain: Path, bundle: Bundle, size: tuple[int, int]) -> Work:
    """The work of a bundle's variants and of their plain export, for an image of (height, width)."""
    height, width = size
    sizes = {"batch": 1, "styles": 1, "height": height, "width": width}
    model = ir.load(plain)
    flop: dict[str | None, int] = {None: count_flop(model, sizes)}
    moved: dict[str | None, int] = {None: numbers_of_convolutions(model, sizes)}
    weights: dict[str | None, int] = {None: weight_bytes(model)}
    trained = math.prod(bundle.manifest.trained_size)  # the variants' figures are for that size
    for variant in bundle.manifest.variants:
        flop[variant.file] = variant.flop * height * width // trained
        weights[variant.file] = variant.bytes
        if variant.file.endswith(".onnx") and variant.file not in moved:
            with suppress(KeyError, ValueError):  # a graph whose dimensions have other names or unknown lengths
                moved[variant.file] = numbers_of_convolutions(ir.load(bundle.file(variant.file)), sizes)
    apply_form(model, LEAST)
    return Work(flop, numbers_of_convolutions(model, sizes), moved, weights)


def numbers_of_convolutions(model: ir.Model, sizes: dict[str, int]) -> int:
    """How many numbers all convolutions of a graph read and write, without weights."""
    return sum(
        math.prod(_shape(node.inputs[0])) + math.prod(_shape(node.outputs[0]))
        for node in at_size(model, sizes).graph
        if node.op_type in {"Conv", "ConvTranspose"}
    )


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    shape = value.shape if value is not None else None
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise ValueError(f"the shape {shape} of a convolution is unknown, so its traffic cannot be counted")
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]
