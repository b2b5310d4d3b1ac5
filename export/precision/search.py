"""int8 and fp8: calibrate, then search for the layers that must stay in floating point.

Every layer is first quantised alone: the squared error that it causes is its harm. While the translations of the
search's images into any domain are below the gate plus a margin, the layer with the most harm per FLOP goes back to
float32. (In TensorRT's graphs such layers finally run in float16, whose errors are small beside those of quantisation.)

Some styles lose more than others, and the search has only a few. If the gate's own images then miss the gate, the
search continues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, before_rounding, open_session
from starcast.export.gate.quality import PEAK
from starcast.export.precision.codes import (
    CPU_RULES,
    Layer,
    Recipe,
    Rules,
    layers_for_codes,
    make_recipe,
    quantisable_layers,
    quantise_layers,
)
from starcast.export.precision.samples import CalibrationSet
from starcast.export.precisions import Gate, gate_of
from starcast.runtime.variants import KeptLayer

HARM_IMAGES = 6  # of the search's images: a few suffice to rank the layers, and each layer runs on all of them
_LEAST = 1e-5  # mean squared error in grey levels, so that equal images have a finite PSNR


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How to search.

    `rules`: the engine's, see codes.py. `margin`: dB above the gate that the search's images must reach, because the
    gate uses other images. `most_float`: share of the FLOP that may stay in float32 before the search gives up. `rest`:
    precision of the layers that are not quantised, for progress lines.
    """

    rules: Rules = CPU_RULES
    gate: Gate = field(default_factory=lambda: gate_of("int8"))
    margin: float = 1.5
    most_float: float = 0.25
    rest: str = "float32"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    `kept`: the layers that are not quantised, in the order in which they were chosen. `to_blame`: the quantised layers
    that lose the most, worst first. `psnr_before` and `psnr_after`, in dB: the mean over the search's images in the
    domain that loses the most, before and after layers were kept.
    """

    model: ir.Model
    kept: tuple[KeptLayer, ...]
    to_blame: tuple[str, ...]
    psnr_before: float
    psnr_after: float

    def summary(self, rest: str) -> str:
        """The result in one line; `rest` is the precision of the kept layers."""
        share = sum(layer.flop_share for layer in self.kept)
        return (
            f"{len(self.kept)} layers stay in {rest} ({share:.1%} of the FLOP): {self.psnr_before:.1f} -> "
            f"{self.psnr_after:.1f} dB on the search's images, in the worst domain"
        )


def quantise(
    model: ir.Model,
    sizes: dict[str, int],
    images: CalibrationSet,
    options: SearchOptions | None = None,
    progress: Callable[[str], None] = lambda _: None,
    missing: Callable[[ir.Model], float] = lambda _: 0.0,
) -> SearchResult:
    """Quantise a copy of a rewritten frame graph with the inputs `image` and `style`.

    `sizes` are those of the graph's dimensions for one image, as for `count_flop`. `missing` returns a finished graph's
    shortfall in dB on the gate's images, 0 or less if it passes; it may change the graph it is given. The result is the
    last graph given to it, even if that misses the gate: the caller must check (see quality.check). `progress` gets a
    line for each kept layer.
    """
    options = options or SearchOptions()
    every = quantisable_layers(model, sizes)
    layers = layers_for_codes(model, every, options.rules)
    recipe = make_recipe(model, layers, images.ranges, options.rules)
    search = _Search(model, layers, recipe, images.search, domains=len(images.gate))
    total = sum(layer.flop for layer in every)
    harm = search.harm()
    left = sorted(layers, key=lambda layer: harm[layer] / layer.flop)  # the worst comes last
    kept: list[KeptLayer] = []
    mean, worst = search.psnr(left)
    before, margin = mean, options.margin

    def above() -> float:
        return min(mean - options.gate.mean, worst - options.gate.worst)

    def may_keep() -> bool:
        return bool(left) and left[-1].flop / total + sum(layer.flop_share for layer in kept) <= options.most_float

    while True:
        while above() < margin and may_keep():
            layer, earlier = left.pop(), mean
            mean, worst = search.psnr(left)
            share = layer.flop / total
            kept.append(KeptLayer(layer=layer.name, flop_share=round(share, 5), psnr_gain=round(mean - earlier, 2)))
            progress(
                f"  {layer.name} stays in {options.rest} ({share:.2%} of the FLOP): {earlier:.1f} -> {mean:.1f} dB"
            )
        lacking = missing(search.quantise(left))
        if lacking <= 0 or not may_keep():
            break
        progress(f"  the gate's images lack {lacking:.2f} dB: the search continues")
        margin = above() + lacking
    hurting = sorted(left, key=lambda layer: -harm[layer])
    return SearchResult(
        model=search.quantise(left),
        kept=tuple(kept),
        to_blame=tuple(layer.name for layer in hurting[:3]),
        psnr_before=round(before, 2),
        psnr_after=round(mean, 2),
    )


class _Search:
    """Quantises some layers of a graph, and compares it with float32 before the last Round."""

    def __init__(
        self, model: ir.Model, layers: Sequence[Layer], recipe: Recipe, trials: Sequence[Trial], domains: int
    ) -> None:
        self._model, self._layers, self._recipe, self._trials, self._domains = model, layers, recipe, trials, domains
        self._expected = self._translate(model, trials)

    def harm(self) -> dict[Layer, float]:
        """The mean squared error that each layer causes alone, in grey levels."""
        few = self._trials[:HARM_IMAGES]
        return {layer: float(self._errors([layer], few).mean()) for layer in self._layers}

    def psnr(self, layers: Sequence[Layer]) -> tuple[float, float]:
        """PSNR in dB with these layers quantised: the lowest of the domains' means, as in the gate, and that of the
        worst image."""
        noise = 10 * np.log10(PEAK**2 / np.maximum(self._errors(layers, self._trials), _LEAST))
        by_domain = [noise[domain :: self._domains] for domain in range(min(self._domains, len(noise)))]
        return min(float(part.mean()) for part in by_domain), float(noise.min())

    def quantise(self, layers: Sequence[Layer]) -> ir.Model:
        """The graph with these layers quantised."""
        return quantise_layers(self._model, layers, self._recipe)

    def _errors(self, layers: Sequence[Layer], trials: Sequence[Trial]) -> NDArray[np.float64]:
        """The mean squared error of each trial's image."""
        got = self._translate(self.quantise(layers), trials)
        return np.array([np.mean((a - b) ** 2) for a, b in zip(got, self._expected, strict=False)])

    @staticmethod
    def _translate(model: ir.Model, trials: Sequence[Trial]) -> list[NDArray[np.float64]]:
        session = open_session(before_rounding(model.clone()))
        return [np.clip(session.run(None, trial.feeds)[0].astype(np.float64), 0, PEAK) for trial in trials]
