"""The arithmetic and memory traffic that an image takes at least, whatever runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from starcast.export.graphs.cost import count_flop
from starcast.export.graphs.shapes import at_size
from starcast.export.passes.forms import apply_form
from starcast.runtime.bundle import Bundle

LEAST = "taps16"  # the form whose convolutions read and write least
ITEM_BYTES = {
    "fp32": 4,
    "tf32": 4,
}  # of a number in a feature map; otherwise 2: int8 and fp8 store fp16 between layers


@dataclass(frozen=True)
class Work:
    """The work of one image. `flop`: by graph file (None: the plain network), two a multiply-add of its convolutions.
    `numbers`: what the convolutions of the cheapest form read and write, each once."""

    flop: dict[str | None, int]
    numbers: int

    def bytes(self, precision: str) -> int:
        """The numbers as bytes."""
        return self.numbers * ITEM_BYTES.get(precision, 2)


def work_of(plain: Path, bundle: Bundle, size: tuple[int, int]) -> Work:
    """The work of a bundle's variants and of their plain export, for an image of (height, width)."""
    height, width = size
    sizes = {"batch": 1, "styles": 1, "height": height, "width": width}
    model = ir.load(plain)
    flop: dict[str | None, int] = {None: count_flop(model, sizes)}
    source = bundle.manifest.source
    if source is not None:  # the variants' own figures are for the size of the training
        for variant in bundle.manifest.variants:
            flop[variant.file] = variant.flop * height * width // (source.height * source.width)
    apply_form(model, LEAST)
    return Work(flop, numbers_of_convolutions(model, sizes))


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
