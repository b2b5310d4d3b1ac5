"""Measures how far from zero norms' inputs lie on calibration images, and so which statistics each norm may use.

The variance as mean(x x) - m m is off by about (m / std)² * 6e-8 in float32. Up to a mean of 100 stds that is less than
the error of rounding x to half; at 1000 the variance is useless, so such a norm takes two passes. `std` includes the
norm's epsilon; in a flat plane the epsilon is all of it.

Images of one colour cannot supply the usual means. But films fade to a single colour, and no plane lies further from
zero than a flat one whose norm was centred on other images. A grey image, for example, is 0 throughout before the first
norm; centring moves it away from 0 by the usual mean. Leave such a norm uncentred: two passes over the largest planes
would add a fifth of the total traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.graphs.facts import add_constant
from starcast.export.passes.centred_biases import Centring, centre_biases
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.passes.norm_decomposition import Statistics
from starcast.runtime.variants import Norm

LARGEST_RATIO = 100.0  # |mean| / std up to which one pass is as good as two
_HARMED = "images of one colour are further from zero with the usual mean subtracted"


@dataclass(frozen=True)
class Planes:
    """Mean and std of every plane of a norm's input, float64 [images, C]."""

    means: NDArray[np.float64]
    stds: NDArray[np.float64]

    @property
    def channel_means(self) -> NDArray[np.float64]:
        """[C]: the mean over all images."""
        usual: NDArray[np.float64] = self.means.mean(axis=0)
        return usual

    def first(self, images: int) -> Planes:
        """The planes of the first `images` images."""
        return Planes(self.means[:images], self.stds[:images])

    def ratio(self, shift: NDArray[np.float64] | float = 0.0) -> float:
        """The largest |mean| / std after adding `shift` [C] to the channels."""
        return float(np.max(np.abs(self.means + shift) / self.stds))


def calibrate_norms(
    model: ir.Model, trials: Sequence[Trial], flat: Sequence[Trial] = ()
) -> tuple[tuple[Norm, ...], Centring]:
    """Centre a float32 frame graph's norms on the usual means of the trials' images, in place.

    Returns how each norm must compute its statistics, and what was centred. The images of `flat` have one colour each;
    they count only for the ratios.
    """
    planes = observe_norms(model, [*trials, *flat])
    count = sum(trial.batch for trial in trials)
    means = {name: seen.first(count).channel_means for name, seen in planes.items()}
    shifts = centre_biases(model.clone(), means).shifts
    harmed = {name for name, seen in planes.items() if LARGEST_RATIO <= seen.ratio(shifts[name]) > seen.ratio()}
    centring = centre_biases(model, {name: mean for name, mean in means.items() if name not in harmed})
    sentences = tuple(f"{name}: {_HARMED}" for name in sorted(harmed))
    centring = replace(centring, declined=centring.declined + sentences, left=centring.left | harmed)
    norms = []
    for name, seen in planes.items():
        ratio = seen.ratio(centring.shifts.get(name, 0.0))
        statistics: Statistics = "one-pass" if ratio < LARGEST_RATIO else "two-pass"
        norms.append(Norm(name=name, statistics=statistics, ratio=ratio, centred=name not in centring.left))
    return tuple(norms), centring


def observe_norms(model: ir.Model, trials: Sequence[Trial]) -> dict[str, Planes]:
    """The planes of every norm over the trials, by the norm's name. The graph is not changed."""
    watched = model.clone()
    norms = list(instance_norms(watched.graph))
    if not norms:
        return {}
    watched.graph.outputs[:] = [value for norm in norms for value in _statistics(watched.graph, norm.x, norm.name)]
    session = open_session(watched)
    runs = [[array[:, :, 0, 0].astype(np.float64) for array in session.run(None, trial.feeds)] for trial in trials]
    arrays = [np.concatenate(parts) for parts in zip(*runs, strict=True)]
    return {
        norm.name: Planes(means, np.sqrt(variances + norm.epsilon))
        for norm, means, variances in zip(norms, arrays[::2], arrays[1::2], strict=True)
    }


def _statistics(graph: ir.Graph, x: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
    """Mean and variance of every plane, computed in the graph: the planes themselves would fill the memory."""
    axes = add_constant(graph, "axes.2.3", np.array([2, 3], np.int64))
    mean = ir.node("ReduceMean", [x, axes], name=f"{name}.mean")
    centred = ir.node("Sub", [x, mean.outputs[0]], name=f"{name}.centred")
    squares = ir.node("Mul", [centred.outputs[0], centred.outputs[0]], name=f"{name}.squares")
    variance = ir.node("ReduceMean", [squares.outputs[0], axes], name=f"{name}.variance")
    graph.extend([mean, centred, squares, variance])
    for node in (mean, variance):
        node.outputs[0].name, node.outputs[0].type = node.name, ir.TensorType(ir.DataType.FLOAT)
    return mean.outputs[0], variance.outputs[0]
