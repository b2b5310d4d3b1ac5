"""int8: calibrated, then searched for the layers that must stay in float32, then gated.

Every layer is first quantised alone: the squared error that it brings is its harm. While the translations of the
search's pictures are below the gate and a margin, the layer with the most harm per FLOP goes back to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.comparison import Trial, before_rounding, open_session
from starcast.export.precision.layers import Layer, quantisable_layers
from starcast.export.precision.quality import INT8_GATE, PEAK, Gate
from starcast.export.precision.quantise import Recipe, make_recipe, quantised
from starcast.export.precision.samples import CalibrationSet
from starcast.runtime.bundle import KeptLayer


@dataclass(frozen=True, kw_only=True)
class Int8Options:
    """`outputs`: what convolutions give is rounded, too, which ONNX Runtime needs (see quantise.py). `margin`: dB above
    the gate on the search's pictures, as the gate has others. `most_float`: the part of the FLOP that may stay in
    float32 before the search gives up."""

    outputs: bool = False
    gate: Gate = INT8_GATE
    margin: float = 2.0
    most_float: float = 0.25


@dataclass(frozen=True)
class Int8Result:
    """The graph, the layers that stayed in float32 in the order in which they were chosen, and those of the others
    that hurt most, worst first."""

    model: ir.Model
    kept: tuple[KeptLayer, ...]
    worst: tuple[str, ...]
    psnr_before: float = field(default=0.0)  # with nothing kept, on the search's pictures
    psnr_after: float = field(default=0.0)


def quantise(
    model: ir.Model, sizes: dict[str, int], pictures: CalibrationSet, options: Int8Options | None = None
) -> Int8Result:
    """int8 of a rewritten frame graph that takes `image` and `style`; `sizes` are those of one picture, for the FLOP.
    The graph given stays as it is."""
    options = options or Int8Options()
    layers = quantisable_layers(model, sizes)
    recipe = make_recipe(model, layers, pictures.ranges, outputs=options.outputs)
    return _Search(model, layers, recipe, pictures.search).until(options)


class _Search:
    """Graphs with some of the layers in integers, compared with float32 before the last Round."""

    def __init__(self, model: ir.Model, layers: Sequence[Layer], recipe: Recipe, trials: Sequence[Trial]) -> None:
        self._model, self._layers, self._recipe, self._trials = model, layers, recipe, trials
        self._expected = self._translated(model)

    def until(self, options: Int8Options) -> Int8Result:
        """Keep layers until the gate and the margin hold, or too much is float32."""
        total = sum(layer.flop for layer in self._layers)
        harm = {layer: float(np.mean(self._errors([layer]))) for layer in self._layers}
        left = sorted(self._layers, key=lambda layer: harm[layer] / layer.flop)  # the worst stands last
        gate, kept = options.gate, list[KeptLayer]()
        mean, worst = before, _ = self._psnr(left)
        while left and (mean < gate.mean + options.margin or worst < gate.worst + options.margin):
            if sum(part.flop_share for part in kept) + left[-1].flop / total > options.most_float:
                break
            layer = left.pop()
            earlier = mean
            mean, worst = self._psnr(left)
            kept.append(
                KeptLayer(layer=layer.name, flop_share=round(layer.flop / total, 5), psnr_gain=round(mean - earlier, 2))
            )
        hurting = sorted(left, key=lambda layer: -harm[layer])
        in_order = [layer for layer in self._layers if layer in left]
        return Int8Result(
            quantised(self._model, in_order, self._recipe), tuple(kept), tuple(layer.name for layer in hurting[:3]),
            round(before, 2), round(mean, 2),
        )  # fmt: skip

    def _psnr(self, layers: Sequence[Layer]) -> tuple[float, float]:
        """Mean and worst over the pictures, in dB, with these layers in integers."""
        noise = 10 * np.log10(PEAK**2 / np.maximum(self._errors(layers), 1e-5))
        return float(noise.mean()), float(noise.min())

    def _errors(self, layers: Sequence[Layer]) -> NDArray[np.float64]:
        """Each picture's mean squared error, in levels of 0..255."""
        got = self._translated(quantised(self._model, layers, self._recipe))
        return np.array([np.mean((a - b) ** 2) for a, b in zip(got, self._expected, strict=True)])

    def _translated(self, model: ir.Model) -> list[NDArray[Any]]:
        session = open_session(before_rounding(model.clone()))
        return [np.clip(session.run(None, trial.feeds)[0].astype(np.float64), 0, PEAK) for trial in self._trials]
