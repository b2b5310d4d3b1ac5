"""What all tasks of an evaluation share, and which of it decides the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from starcast import __version__
from starcast.benchmarks.evaluation.images import EvaluationDomain, Progress
from starcast.benchmarks.evaluation.judges import Classify, Judges
from starcast.benchmarks.evaluation.protocol import GENERATED, LABELS
from starcast.benchmarks.evaluation.report import Report, digest, read_report
from starcast.benchmarks.evaluation.subjects import Subject
from starcast.benchmarks.options import EvaluateOptions
from starcast.benchmarks.record import version_of
from starcast.errors import OptionError, printable

PACKAGES = ("torch", "torchvision", "torchmetrics", "torch-fidelity", "lpips", "numpy", "pillow")


@dataclass(frozen=True)
class Setting:
    """What all tasks share. `from_levels`: LPIPS is taken from outputs as bytes, because a bundle gives no floats."""

    data: Path
    domains: list[EvaluationDomain]
    modes: tuple[str, ...]
    seeds: list[int]
    options: EvaluateOptions
    judges: Judges
    device: torch.device
    classify: Classify | None
    from_levels: bool

    def outputs(self, mode: str) -> int:
        """Outputs for each source: one, where a source has only one."""
        return 1 if mode in (LABELS, GENERATED) else self.options.outputs

    @property
    def images(self) -> int | None:
        """How many images a model without a source makes; None for others."""
        if GENERATED not in self.modes:
            return None
        return self.options.generate or len(self.domains[0].training)

    @property
    def lpips_of(self) -> str:
        return "bytes" if self.from_levels else "floats"


def about(setting: Setting) -> dict[str, Any]:
    """What was measured, and how, for the report."""
    options = setting.options
    return {
        "data": {
            "path": str(setting.data), "training": None if options.training is None else str(options.training),
            "domains": {
                domain.name: {"training": len(domain.training), "held out": len(domain.held_out)}
                for domain in setting.domains
            },
        },
        "protocol": {
            "modes": list(setting.modes), "seeds": setting.seeds,
            "outputs": {mode: setting.outputs(mode) for mode in setting.modes},
            "images": setting.images, "batch": options.batch,
            "psi": 1.0, "lpips of": setting.lpips_of,
            "FID": "the target's training images and outputs as bytes, to the model's size, then to 299 px",
            "clean FID, KID": "to 299 px at once, bicubic, in float" if options.clean else None,
            "usual FID": "as bytes at the model's size, by TensorFlow's Inception" if setting.judges.usual else None,
            "accuracy": "by a classifier trained on the real images" if setting.classify else None,
        },
        "features": "torchvision's Inception v3, 2048 pooled, for all but the usual FID; not comparable with it",
        "weights": setting.judges.facts,
        "device": setting.device.type,
        "comparable": digest(decisive_facts(setting)),
        "versions": versions(),
    }  # fmt: skip


def decisive_facts(setting: Setting) -> dict[str, Any]:
    """What two evaluations must share to be compared: images, judges and protocol."""
    options = setting.options
    return {
        "images": [[domain.name, domain.hashes, domain.held_out_hashes] for domain in setting.domains],
        "weights": setting.judges.facts,
        "protocol": [setting.modes, setting.seeds, options.outputs, setting.images, options.batch, options.clean],
    }


def versions() -> dict[str, str | None]:
    """The releases of what computes the figures."""
    return {"starcast": __version__, **{name: version_of(name) for name in PACKAGES}}


def choose_modes(subjects: Mapping[str, Subject], options: EvaluateOptions, progress: Progress) -> tuple[str, ...]:
    """The requested modes that all models have. Raises OptionError if there is none."""
    asked = dict.fromkeys((*options.modes, LABELS, GENERATED))  # no model has those two beside others
    modes = tuple(mode for mode in asked if all(mode in one.modes for one in subjects.values()))
    missing = [mode for mode in options.modes if mode not in modes and modes[:1] not in ((LABELS,), (GENERATED,))]
    if not modes:
        raise OptionError(f"--modes {','.join(missing)} is not possible with this model: leave --modes out")
    if missing:
        progress(f"Left out, not possible with this model: --modes {','.join(missing)}")
    return modes


def earlier_report(against: Path | None) -> Report | None:
    """The report that --against names; None if it names a model. Raises OptionError."""
    if against is None or not against.is_file() or against.suffix.lower() != ".json":
        return None
    report = read_report(against)
    if report is None:
        raise OptionError(f"{printable(against)} is no report of `starcast evaluate`: give a report, or a model")
    return {name: value for name, value in report.items() if name not in ("against", "difference")}


def check_comparable(earlier: Report, setting: Setting, progress: Progress) -> None:
    """Raise OptionError unless an earlier report is of the same images, judged in the same way."""
    against = printable(setting.options.against)
    if earlier["about"].get("comparable") != digest(decisive_facts(setting)):
        raise OptionError(
            f"{against} is a report on other images, or with other weights or options: give the model itself to "
            "--against"
        )
    if earlier["about"]["protocol"]["lpips of"] != setting.lpips_of:
        progress(
            f"{against} has the LPIPS of {earlier['about']['protocol']['lpips of']}, and this is the LPIPS of "
            f"{setting.lpips_of}: for both from bytes, give the model itself to --against"
        )
