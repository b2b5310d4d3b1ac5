"""The options of `starcast build`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option

PRECISIONS = ("fp16", "bf16", "fp8", "int8", "fp32")
ENGINES = ("tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, kw_only=True)
class BuildOptions(CheckedOptions):
    """Which engines `build` makes. The defaults are what costs nothing: a batch of 1 to 8 has the kernels and the
    traffic of a fixed one, and 4 is what `translate` and `video` hand over; open sides are another matter, so that
    they are those of the bundle."""

    engine: str | None = option(
        None, "Engine to build for. Without it TensorRT, where it and a card are here, else TensorRT for RTX.",
        choices=ENGINES,
    )  # fmt: skip
    precision: str = option("fp16", "Precision of the translation; styles are always made in fp32.", choices=PRECISIONS)
    batch: str = option(
        "1:4:8", "Pictures at a time: one number, or the smallest, the usual and the largest.", metavar="MIN:OPT:MAX"
    )
    size: str | None = option(
        None, "Width and height of the pictures, or the smallest, the usual and the largest; without it the bundle's.",
        metavar="WxH[:WxH:WxH]",
    )  # fmt: skip
    gpu: tuple[str, ...] = option(
        (), "Generations to build for with TensorRT for RTX, on any machine, an engine each: sm75 (RTX 20), sm80, sm86 "
        "(RTX 30), sm89 (RTX 40), sm120 (RTX 50), sm121. Without it the card that is here.", metavar="SM,…",
    )  # fmt: skip
    form: str | None = option(
        None, "Form of the graph, as `starcast inspect` lists them; without it the first that the engine takes.",
        metavar="NAME",
    )  # fmt: skip
