"""The demo's table of variants: a row for each stored graph, with how far it is from PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.benchmarks.bench.rows import title_of
from starcast.export.gate.parity import LEVELS
from starcast.export.precisions import gate_of
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import Parity, Quality, Variant

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """A variant's engines, form, precision and size, and what its gate measured; `passed` None: nothing was."""

    engines: str
    form: str
    precision: str
    size: str
    difference: str
    gate: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return {True: "passed", False: "failed", None: "not measured"}[self.passed]


def variant_rows(bundle: Bundle) -> list[VariantRow]:
    """A row for each variant of a bundle, in the bundle's order."""
    return [_row(variant) for variant in bundle.manifest.variants]


def _row(variant: Variant) -> VariantRow:
    if variant.quality is not None:
        difference, gate, passed = _compare_quality(variant.quality, variant.precision)
    elif variant.parity is not None:
        difference, gate, passed = _compare_parity(variant.parity)
    else:
        difference, gate, passed = "—", "—", None
    return VariantRow(
        engines=", ".join(title_of(engine) for engine in variant.engines),
        form=f"{variant.form_name}, one style" if variant.one_style else variant.form_name,
        precision=variant.arithmetic, size=f"{variant.bytes / MEGABYTE:.1f} MB",
        difference=difference, gate=gate, passed=passed,
    )  # fmt: skip


def _compare_parity(parity: Parity) -> tuple[str, str, bool]:
    levels = "1 grey level" if parity.levels == 1 else f"{parity.levels} grey levels"
    passed = parity.worst <= parity.tolerance and parity.levels <= LEVELS
    return f"{levels} ({parity.worst:.0e} before rounding)", f"{LEVELS} grey level ({parity.tolerance:.0e})", passed


def _compare_quality(quality: Quality, precision: str) -> tuple[str, str, bool]:
    """Of the domain that is furthest from float32."""
    mean = min(domain.psnr_mean for domain in quality.domains.values())
    worst = min(domain.psnr_worst for domain in quality.domains.values())
    gate = gate_of(precision)
    wanted = f"{gate.mean:g} dB" + (f", {gate.worst:g} at worst" if gate.worst else "")
    return f"{mean:.1f} dB, {worst:.1f} at worst", wanted, mean >= gate.mean and worst >= gate.worst
