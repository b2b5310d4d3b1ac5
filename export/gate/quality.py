"""How close translations below float32 are to float32's: PSNR and SSIM of the bytes, and whether they pass the gate.

A graph runs in the runtime's engines, or in an emulation of TensorRT. PSNR has the peak 255. SSIM is Wang et al. 2004,
eq. 13: windows of 11x11 with Gaussian weights (sigma 1.5), K = (0.01, 0.03), whole windows only, averaged over the
three channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.errors import ParityError
from starcast.export.gate.candidates import Trial, open_session
from starcast.export.precision.emulation import emulate
from starcast.export.precisions import Gate
from starcast.runtime.engines.base import Engine, EngineOptions, Graph
from starcast.runtime.variants import DomainQuality, Parity, Quality

PEAK = 255.0
EQUAL = 100.0  # dB of equal images, so that means stay finite
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2

Translate = Callable[[Trial], NDArray[np.uint8]]
Expected = Mapping[str, Sequence[NDArray[np.uint8]]]  # float32's translations of each domain's trials


def psnr(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB of two images in 0..255; at most 100, the value for equal images."""
    error = float(np.mean((got.astype(np.float64) - expected.astype(np.float64)) ** 2))
    return EQUAL if error == 0 else min(EQUAL, 10 * math.log10(PEAK**2 / error))


def ssim(got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Structural similarity of two images [H, W, 3], each side at least 11."""
    x, y = got.astype(np.float64), expected.astype(np.float64)
    mean_x, mean_y = _gaussian_mean(x), _gaussian_mean(y)
    variance_x = _gaussian_mean(x * x) - mean_x**2
    variance_y = _gaussian_mean(y * y) - mean_y**2
    covariance = _gaussian_mean(x * y) - mean_x * mean_y
    likeness = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    return float(likeness.mean())


def measure_quality(translate: Translate, expected: Expected, trials: Mapping[str, Sequence[Trial]]) -> Quality:
    """The quality of an engine's translations for each domain's trials; `expected` are float32's."""
    domains = {}
    for domain, its_trials in trials.items():
        pairs = [
            (got, wanted)
            for trial, reference in zip(its_trials, expected[domain], strict=True)
            for got, wanted in zip(translate(trial), reference, strict=True)
        ]
        noise, likeness = [psnr(*pair) for pair in pairs], [ssim(*pair) for pair in pairs]
        domains[domain] = DomainQuality(
            images=len(pairs),
            psnr_mean=round(float(np.mean(noise)), 2),
            psnr_worst=round(min(noise), 2),
            ssim_mean=round(float(np.mean(likeness)), 4),
            ssim_worst=round(min(likeness), 4),
        )
    return Quality(domains=domains)


def worse_of(one: Quality, other: Quality) -> Quality:
    """The lower of two engines' figures on the same images."""
    return Quality(
        domains={
            name: DomainQuality(
                images=ours.images,
                psnr_mean=min(ours.psnr_mean, other.domains[name].psnr_mean),
                psnr_worst=min(ours.psnr_worst, other.domains[name].psnr_worst),
                ssim_mean=min(ours.ssim_mean, other.domains[name].ssim_mean),
                ssim_worst=min(ours.ssim_worst, other.domains[name].ssim_worst),
            )
            for name, ours in one.domains.items()
        }
    )


def translate_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]]) -> Expected:
    """A float32 frame graph's translations of each domain's trials, in ONNX Runtime."""
    session = open_session(model)
    return {
        domain: [session.run(None, trial.feeds)[0] for trial in its_trials] for domain, its_trials in trials.items()
    }


def measure_on_engines(
    engines: Sequence[Engine],
    graph: Graph,
    trials: Mapping[str, Sequence[Trial]],
    expected: Expected,
    product: Path | None = None,
) -> Quality:
    """The worst quality among several engines. `product` turns styles into scales and shifts, for a graph that needs
    those. Raises EngineError if an engine cannot run the graph."""
    measured = []
    for engine in engines:
        with open_translate(engine, graph, product) as translate:
            measured.append(measure_quality(translate, expected, trials))
    return reduce(worse_of, measured)


@contextmanager
def open_translate(engine: Engine, graph: Graph, product: Path | None) -> Iterator[Translate]:
    """A written graph in an engine. `product` turns styles into scales and shifts, for a graph that needs those. Raises
    EngineError if the engine cannot open it."""
    scales = open_session(product) if product is not None else None
    session = engine.open(graph, EngineOptions())

    def translate(trial: Trial) -> NDArray[np.uint8]:
        if scales is None:
            return session.run(trial.feeds)
        [given] = scales.run(None, {"style": trial.styles})
        return session.run(trial.feeds_with("gamma_beta", given))

    try:
        yield translate
    finally:
        session.close()


def measure_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """The quality of a graph that ONNX Runtime can run without changes."""
    session = open_session(model)
    return measure_quality(lambda trial: session.run(None, trial.feeds)[0], expected, trials)


def measure_emulated(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """The quality of a half-precision graph, emulated by rounding after every node. Every value's type must be known;
    emulation.py says what this shows and what it does not."""
    return measure_in_float32(emulate(model), trials, expected)


@dataclass(frozen=True)
class Verdict:
    """Parity with PyTorch for a float32 graph; below float32, quality against float32's translations."""

    parity: Parity | None = None
    quality: Quality | None = None

    def __str__(self) -> str:
        """The verdict in one line."""
        if self.quality is not None:
            return "; ".join(
                f"{name} {domain.psnr_mean:.1f} dB (worst {domain.psnr_worst:.1f}), SSIM {domain.ssim_mean:.3f}"
                for name, domain in self.quality.domains.items()
            )
        assert self.parity is not None
        flat = self.parity.flat_levels
        flat_note = "" if flat is None else f" (on images mostly of one colour {flat})"
        return (
            f"generator against PyTorch: {self.parity.worst:.1e}, bytes within {self.parity.levels}{flat_note}, "
            f"batches of {', '.join(map(str, self.parity.batches))}"
        )


def missing(quality: Quality, gate: Gate) -> float:
    """The largest shortfall of a domain from the gate, in dB; 0 or less if all domains pass."""
    return max(_missing(domain, gate) for domain in quality.domains.values())


def below(quality: Quality, gate: Gate) -> str | None:
    """The domain furthest below the gate and its PSNR, in words; None if all domains pass."""
    if missing(quality, gate) <= 0:
        return None
    name, domain = max(quality.domains.items(), key=lambda item: _missing(item[1], gate))
    return (
        f"{_round_down(domain.psnr_mean):.1f} dB on average and {_round_down(domain.psnr_worst):.1f} dB at worst for "
        f"the domain {name!r} (allowed: {gate.mean:g} and {gate.worst:g})"
    )


def check(
    quality: Quality, gate: Gate, precision: str, to_blame: Sequence[str] = (), *, has_source: bool = True
) -> None:
    """Raise ParityError if the quality misses the gate. `to_blame` are the layers that lose most, worst first; without
    a source there are no images to calibrate on."""
    finding = below(quality, gate)
    if finding is None:
        return
    calibrate = "calibrate on images like those that will be translated (--calibrate DIR), " if has_source else ""
    blame = f", most of it lost in {' and '.join(to_blame)}" if to_blame else ""
    raise ParityError(
        f"{precision} translations are only within {finding} of float32's{blame}: {calibrate}lower --min-psnr, or "
        f"export without {precision}"
    )


def _missing(domain: DomainQuality, gate: Gate) -> float:
    return max(gate.mean - domain.psnr_mean, gate.worst - domain.psnr_worst)


def _round_down(number: float) -> float:
    """Rounded down to one digit, so that 34.97 does not show as 35.0 when the gate is 35."""
    return math.floor(round(10 * number, 6)) / 10


def _gaussian_mean(image: NDArray[np.float64]) -> NDArray[Any]:
    """The Gaussian mean of every whole window."""
    border = _WINDOW // 2
    blurred: NDArray[Any] = cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA)
    return blurred[border:-border, border:-border]
