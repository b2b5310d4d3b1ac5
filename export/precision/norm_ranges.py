"""How far from nought the planes lie that are normalised, on calibration pictures, and what that lets a norm do.

The variance as mean(x x) - m m is off by some (m / std)² * 6e-8 in float32: under what half's rounding of x itself
costs up to a mean of 100 stds, and ruined at 1000. There, a norm takes two passes. `std` includes the norm's epsilon,
which it divides by, too; a plane of one colour has no other.

Pictures of one colour are nothing to take usual means of. But films fade to them, and nothing lies further off than a
flat plane whose norm was centred on others: all of a grey picture is nought before the first norm, and the usual mean
away from it once that is subtracted. Such a norm is rather not centred than taken in two passes, which over the
largest planes would cost a fifth of the whole traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.graphs.constants import add_constant
from starcast.export.passes.centred_biases import Centring, centre_biases
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.passes.norm_spelling import Statistics
from starcast.runtime.manifest import Norm

LARGEST_RATIO = 100.0  # |mean| / std up to which one pass is as good as two
_HARMED = "pictures of one colour are further off nought with the usual mean taken away"


@dataclass(frozen=True)
class Planes:
    """Every plane that a norm was given: mean and std, float64 [pictures, C]."""

    means: NDArray[np.float64]
    stds: NDArray[np.float64]

    @property
    def channel_means(self) -> NDArray[np.float64]:
        """[C]: over all pictures."""
        usual: NDArray[np.float64] = self.means.mean(axis=0)
        return usual

    def first(self, pictures: int) -> Planes:
        """Those of the first pictures."""
        return Planes(self.means[:pictures], self.stds[:pictures])

    def ratio(self, shift: NDArray[np.float64] | float = 0.0) -> float:
        """The largest |mean| / std, with a number [C] added to every channel."""
        return float(np.max(np.abs(self.means + shift) / self.stds))


def calibrate_norms(
    model: ir.Model, trials: Sequence[Trial], flat: Sequence[Trial] = ()
) -> tuple[tuple[Norm, ...], Centring]:
    """Centre a float32 frame graph's norms on the usual means of the trials' pictures, in place; gives how each norm
    is to take its statistics, and what was centred. `flat`: of one colour; they count for the ratios alone."""
    planes = observe_norms(model, [*trials, *flat])
    count = sum(trial.batch for trial in trials)
    means = {name: found.first(count).channel_means for name, found in planes.items()}
    shifts = centre_biases(model.clone(), means).shifts
    harmed = {name for name, found in planes.items() if LARGEST_RATIO <= found.ratio(shifts[name]) > found.ratio()}
    centring = centre_biases(model, {name: mean for name, mean in means.items() if name not in harmed})
    sentences = tuple(f"{name}: {_HARMED}" for name in sorted(harmed))
    centring = replace(centring, declined=centring.declined + sentences, left=centring.left | harmed)
    norms = []
    for name, found in planes.items():
        ratio = found.ratio(centring.shifts.get(name, 0.0))
        statistics: Statistics = "one-pass" if ratio < LARGEST_RATIO else "two-pass"
        norms.append(Norm(name=name, statistics=statistics, ratio=ratio, centred=name not in centring.left))
    return tuple(norms), centring


def observe_norms(model: ir.Model, trials: Sequence[Trial]) -> dict[str, Planes]:
    """The planes of every norm over the trials, by its name. The graph stays as it is."""
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
