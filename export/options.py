"""Options of `starcast export`. Imports no torch, because `--help` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.errors import OptionError
from starcast.export.precisions import CPU_ENGINES, PRECISIONS, precisions_for
from starcast.options import CheckedOptions, option

ADAIN = ("fused", "plugin", "unfused")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CheckedOptions):
    """Options of an export. The gate's tolerances are not options: a graph that misses them is not written."""

    domains: tuple[str, ...] = flags.domains("The order must be the one trained with. Default: the checkpoint's names.")
    attributes: tuple[str, ...] = flags.attributes(
        "For official StarGAN v1 files, which do not store them. If the model has two data sets, --domains names the "
        "second one's labels."
    )
    image_size: int | None = flags.image_size(
        None, "Only for an official StarGAN v1 generator without its -D.ckpt: the training size. Default: 128.",
        minimum=8,
    )  # fmt: skip
    landmarks: Path | None = flags.landmarks("Only for a face checkpoint that lacks them.")
    data: str | None = option(
        None, "Name of the data set, for the model card; default: the checkpoint's.",
        flags=("--data-name",), aliases=("--data",), metavar="NAME",
    )  # fmt: skip
    backends: tuple[str, ...] = option(
        (), "Engines to export for, each in the form it runs fastest. Default: openvino, onnxruntime and, if "
        "installed, ncnn. For NVIDIA GPUs: tensorrt, which also serves TensorRT for RTX.",
        flags=("--for",), metavar="ENGINE,…",
    )  # fmt: skip
    forms: tuple[str, ...] = option(
        (), "Forms of the frame graph to write for every engine, instead of each engine's own; plain: as trained.",
        flags=("--forms",), aliases=("--form",), metavar="FORM,…",
    )  # fmt: skip
    without: tuple[str, ...] = option(
        (), "Exact rewrites to leave out, by name; --passes lists them.", metavar="NAME,…"
    )
    precision: tuple[str, ...] = option(
        ("fp32",), "Precisions to write; fp32 is always among them. One that fails its gate stops the export. fp16 and "
        "fp8 are for tensorrt only.",
        flags=("--precisions",), aliases=("--precision",), metavar="fp32,fp16,bf16,int8,fp8",
    )  # fmt: skip
    calibrate: Path | None = option(
        None, "Images to calibrate smaller precisions on and to check them with; default: the training set, if it "
        "still exists.", metavar="DIR",
    )  # fmt: skip
    min_psnr: float | None = option(
        None, "PSNR to float32, in dB, that smaller precisions must reach in every domain. Default, on average: 40 for "
        "fp16 and bf16, 35 for int8 (and 30 for the worst image), 30 for fp8.", minimum=0,
    )  # fmt: skip
    adain: tuple[str, ...] = option(
        ("fused",), "How AdaIN is written in graphs for tensorrt. fused: plain operators that every TensorRT "
        "fuses; plugin: one node for starcast's plugin, full TensorRT only; unfused: the engine's own norms, for "
        "comparison.",
        flags=("--adain-forms",), aliases=("--adain",), metavar="fused,plugin,unfused",
    )  # fmt: skip
    mean_draws: int | None = option(
        None, "Latents to average for the mean style (for --psi) of each domain, or of a model without domains. "
        "Default: 10,000; for StyleGAN2, the mean style or the number of latents stored in the checkpoint.", minimum=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        twice = [name for name in self.attributes if (*self.attributes, *self.domains).count(name) > 1]
        if twice:
            raise OptionError(f"{twice[0]} is named twice in --attributes and --domains: give each label its own name")
        if "spelled" in self.adain:  # the former name of fused
            object.__setattr__(self, "adain", tuple("fused" if name == "spelled" else name for name in self.adain))
        for flag, given, known in (
            ("--precisions", self.precision, tuple(PRECISIONS)), ("--adain-forms", self.adain, ADAIN),
        ):  # fmt: skip
            unknown = [name for name in given if name not in known]
            if unknown:
                raise OptionError(f"{flag} is {', '.join(unknown)}: give one or several of {', '.join(known)}")
        if "tensorrt" in self.backends:
            return
        not_for_cpu = [name for name in self.precision if name not in precisions_for(CPU_ENGINES)]
        if not_for_cpu:
            raise OptionError(
                f"--precisions {','.join(not_for_cpu)} is for TensorRT only: add --for tensorrt, next to the bundle's "
                "other engines"
            )
        if set(self.adain) - {"fused"}:
            raise OptionError(f"--adain-forms {','.join(self.adain)} is for TensorRT only: add --for tensorrt")
