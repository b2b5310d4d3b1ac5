"""The pictures that a bundle's variants are calibrated on and judged by, chosen once an export, and float32's
translations of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from starcast.errors import OptionError
from starcast.export.gate.engines import Expected, translated_in_float32
from starcast.export.precision.samples import CalibrationSet, calibration_set, drawn_set
from starcast.export.precisions import PRECISIONS, Gate
from starcast.export.progress import Progress, stage
from starcast.export.write_variants import Making


@dataclass(frozen=True)
class Pictures:
    """Where the pictures come from, and the mean PSNR that must be reached, if not the gate's own."""

    folder: Path | None
    remembered: str | None
    min_psnr: float | None


@dataclass(frozen=True)
class Judging:
    """The pictures, and what float32 makes of the gate's."""

    pictures: CalibrationSet
    traced: ir.Model
    progress: Progress
    min_psnr: float | None

    @cached_property
    def expected(self) -> Expected:
        """Made when the first variant asks."""
        with stage(self.progress, "translated the pictures for smaller precisions in float32"):
            return translated_in_float32(self.traced.clone(), self.pictures.gate)

    def gate(self, precision: str) -> Gate:
        """The precision's gate, moved to the PSNR that was asked for."""
        return PRECISIONS[precision].gate_for(self.min_psnr)


def judging(making: Making, pictures: Pictures, *, required: bool) -> Judging:
    """Choose the pictures. Where there are none, drawn ones are taken, and a line says so, unless real ones are
    `required`. Raises OptionError."""
    try:
        chosen = calibration_set(making.model, pictures.folder, pictures.remembered)
    except OptionError as error:
        if required or pictures.folder is not None:
            raise
        making.progress(f"calibrating on drawn pictures: {error}")
        chosen = drawn_set(making.model)
    return Judging(chosen, making.traced, making.progress, pictures.min_psnr)
