"""What `starcast export` can be told. Imports no torch: `--help` is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.errors import OptionError
from starcast.options import CheckedOptions, option

PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CheckedOptions):
    """Options of an export. The gate's tolerances are not among them: a graph is right or it is not written."""

    domains: tuple[str, ...] = option(
        (), "Names of the domains, in the networks' order; without it those of the checkpoint.", metavar="NAME,NAME,…"
    )
    data: str | None = option(
        None, "Name of the data set, for the model card; without it the checkpoint's.", metavar="NAME"
    )
    backends: tuple[str, ...] = option(
        (), "Engines that the bundle is for, each with the form that it runs fastest; without it openvino, onnxruntime "
        "and, where it is installed, ncnn.",
        flags=("--for",), metavar="ENGINE,…",
    )  # fmt: skip
    forms: tuple[str, ...] = option(
        (), "Forms of the frame graph for every engine, instead of each one's own; plain: as it was trained.",
        flags=("--form",), metavar="FORM,…",
    )  # fmt: skip
    without: tuple[str, ...] = option(
        (), "Exact rewrites to leave out, by name; --passes lists them.", metavar="NAME,…"
    )
    precision: tuple[str, ...] = option(
        ("fp32",), "Precisions to write: float32 always, and besides it bf16 and int8 where they pass their gates.",
        metavar="fp32,bf16,int8",
    )  # fmt: skip
    calibrate: Path | None = option(
        None, "Pictures to calibrate int8 on and to judge bf16 and int8 by; without it the training set, where it is "
        "still there.", metavar="DIR",
    )  # fmt: skip
    min_psnr: float | None = option(
        None, "PSNR to float32 that bf16 and int8 must reach in every domain, in dB; without it 40 and 35 on average "
        "(int8: 30 at worst).", minimum=0,
    )  # fmt: skip
    mean_draws: int = option(10_000, "Latents that each domain's mean style is taken over (for --psi).", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.precision if name not in PRECISIONS]
        if unknown:
            raise OptionError(f"--precision is {', '.join(unknown)}: give one or several of {', '.join(PRECISIONS)}")
