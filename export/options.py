"""What `starcast export` can be told. Imports no torch: `--help` is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.errors import OptionError
from starcast.options import CheckedOptions, option

PRECISIONS = ("fp32", "bf16", "int8")
TENSORRT_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
ADAIN = ("spelled", "plugin", "unfused")


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
        "and, where it is installed, ncnn. For NVIDIA cards: tensorrt, which serves TensorRT for RTX as well.",
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
        ("fp32",), "Precisions to write: float32 always, and besides it those that pass their gates; fp16 and fp8 for "
        "tensorrt alone.",
        metavar="fp32,fp16,bf16,int8,fp8",
    )  # fmt: skip
    calibrate: Path | None = option(
        None, "Pictures to calibrate on and to judge smaller precisions by; without it the training set, where it is "
        "still there.", metavar="DIR",
    )  # fmt: skip
    min_psnr: float | None = option(
        None, "PSNR to float32 that smaller precisions must reach in every domain, in dB; without it 40 (fp16, bf16), "
        "35 (int8: 30 at worst) and 30 (fp8) on average.", minimum=0,
    )  # fmt: skip
    adain: tuple[str, ...] = option(
        ("spelled",), "AdaIN in graphs for tensorrt: spelled in plain operators, which every TensorRT fuses, or one "
        "node for starcast's plugin, which full TensorRT has, or unfused: the engine's own norms, to compare with.",
        metavar="spelled,plugin,unfused",
    )  # fmt: skip
    mean_draws: int = option(10_000, "Latents that each domain's mean style is taken over (for --psi).", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, given, known in (
            ("--precision", self.precision, TENSORRT_PRECISIONS), ("--adain", self.adain, ADAIN),
        ):  # fmt: skip
            unknown = [name for name in given if name not in known]
            if unknown:
                raise OptionError(f"{flag} is {', '.join(unknown)}: give one or several of {', '.join(known)}")
        if "tensorrt" in self.backends:
            return
        theirs = [name for name in self.precision if name not in PRECISIONS]
        if theirs:
            raise OptionError(
                f"--precision {','.join(theirs)} is for TensorRT alone: add --for tensorrt, besides the other engines "
                "that the bundle is for"
            )
        if set(self.adain) - {"spelled"}:
            raise OptionError(f"--adain {','.join(self.adain)} is for TensorRT alone: add --for tensorrt")
