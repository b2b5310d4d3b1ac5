"""The options of `starcast build`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime.options import PRECISIONS

ENGINES = ("tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, kw_only=True)
class BuildOptions(CheckedOptions):
    """Which engines `build` makes.

    The default batch range costs no speed: 1 to 8 has the same kernels and traffic as a fixed batch, and `translate`
    and `video` use 4. A range of sizes would cost speed, so the default size is the bundle's own.
    """

    engine: str | None = flags.backend(
        None, "tensorrt or tensorrt-rtx. Default: tensorrt if it and a GPU are present, else tensorrt-rtx.",
        aliases=("--engine",),
    )  # fmt: skip
    precision: str = flags.precision("fp16", PRECISIONS, "Styles are always computed in fp32.")
    batch: str = option(
        "1:4:8", "Images per batch: the smallest, the usual and the largest, or one number for all three.",
        flags=("--batch-range",), aliases=("--batch",), metavar="MIN:OPT:MAX",
    )  # fmt: skip
    size: str | None = option(
        None, "Sizes of the images, WIDTHxHEIGHT: the smallest, the usual and the largest, or one for all three. "
        "Default: the bundle's size.",
        flags=("--size-range",), aliases=("--size",), metavar="MIN:OPT:MAX",
    )  # fmt: skip
    gpu: tuple[str, ...] = option(
        (), "GPU generations to build for with TensorRT for RTX, one engine each, on any machine: sm75 (RTX 20), sm80, "
        "sm86 (RTX 30), sm89 (RTX 40), sm120 (RTX 50), sm121. Default: this machine's GPU.", metavar="SM,…",
    )  # fmt: skip
    form: str | None = option(
        None, "Form of the frame graph; `starcast inspect` lists them. Default: the first one the engine supports.",
        metavar="FORM",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine not in (None, *ENGINES):
            raise OptionError(f"--backend is {self.engine!r}: `starcast build` builds for {' and '.join(ENGINES)}")
