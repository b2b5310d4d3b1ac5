"""A smooth curve through vectors that are given at some times: styles, or the numbers of a motion.

Each segment is a cubic Hermite curve. The tangent at a key is that of the parabola through it and its neighbours, as in
a Catmull-Rom spline over time, but never faster than the slower of the two segments beside it. So two equal neighbours
stay equal in between, and a short segment beside a long one does not throw the long one off its way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMOOTH, LINEAR, HOLD = EASES = ("smooth", "linear", "hold")

Vectors = NDArray[np.float64]


class Spline:
    """Passes through `values` [keys, …] at `times` [keys], which rise strictly; `eases` says how each key leads to the
    next. Before the first key and after the last, the curve rests.

    With `period`, the curve is closed: the last key leads to the first, `period` after it. It must be more than the
    time from the first key to the last. `bounded`: no component leaves the range of the two keys beside it; otherwise
    the curve does not depend on the axes, and bends a little beyond the keys, as a path through space does.
    """

    def __init__(
        self,
        times: Sequence[float],
        values: ArrayLike,
        eases: Sequence[str],
        *,
        period: float | None = None,
        bounded: bool = False,
    ) -> None:
        keys = np.asarray(values, np.float64)
        self._shape, self._period = keys.shape[1:], period
        keys = keys.reshape(len(keys), -1)
        knots = np.asarray(times, np.float64)
        if period is not None:
            keys, knots = np.concatenate([keys, keys[:1]]), np.append(knots, knots[0] + period)
        self._keys, self._times = keys, knots
        self._eases = np.array([EASES.index(ease) for ease in eases])
        self._tangents = self._find_tangents(bounded=bounded)

    def at(self, times: ArrayLike) -> Vectors:
        """The vectors at `times` [N], [N, …]: at the time of a key exactly that key's."""
        wanted = np.atleast_1d(np.asarray(times, np.float64))
        if self._period is not None:
            first = self._times[0]
            is_within = (wanted >= first) & (wanted < first + self._period)  # stays exact
            wanted = np.where(is_within, wanted, first + np.mod(wanted - first, self._period))
        last = len(self._times) - 1
        if not last:
            return np.repeat(self._keys, len(wanted), axis=0).reshape(-1, *self._shape)
        rests = wanted >= self._times[-1]
        wanted = np.clip(wanted, self._times[0], self._times[-1])
        begin = np.minimum(np.searchsorted(self._times, wanted, side="right") - 1, last - 1)
        lasts = self._times[begin + 1] - self._times[begin]
        u = ((wanted - self._times[begin]) / lasts)[:, None]
        here, there = self._keys[begin], self._keys[begin + 1]
        leave, arrive = (lasts[:, None] * self._tangents[key] for key in (begin, begin + 1))
        smooth = here + (there - here) * (u * u * (3 - 2 * u)) + leave * (u * (1 - u) ** 2) - arrive * (u * u * (1 - u))
        ease = self._eases[begin][:, None]
        curve = np.where(ease == EASES.index(LINEAR), here + (there - here) * u, smooth)
        curve = np.where(ease == EASES.index(HOLD), here, curve)
        curve = np.where(rests[:, None], self._keys[-1], curve)
        return curve.reshape(-1, *self._shape)

    def _find_tangents(self, *, bounded: bool) -> Vectors:
        """The speed at each key, [keys, S]; 0 beside a hold, and where the curve rests."""
        lasts = np.diff(self._times)[:, None]
        speeds = np.diff(self._keys, axis=0) / lasts
        speeds[self._eases[: len(speeds)] == EASES.index(HOLD)] = 0
        closed = self._period is not None
        rest = np.zeros((1, self._keys.shape[1]))
        before = np.concatenate([speeds[-1:] if closed else rest, speeds])
        after = np.concatenate([speeds, speeds[:1] if closed else rest])
        ones = np.ones((1, 1))
        lasts_before = np.concatenate([lasts[-1:] if closed else ones, lasts])
        lasts_after = np.concatenate([lasts, lasts[:1] if closed else ones])
        tangents: Vectors = (lasts_after * before + lasts_before * after) / (lasts_before + lasts_after)
        if bounded:
            slower = np.minimum(np.abs(before), np.abs(after)) * (before * after > 0)
            tangents = np.sign(tangents) * np.minimum(np.abs(tangents), slower)
            return tangents
        length, *others = (np.linalg.norm(part, axis=1, keepdims=True) for part in (tangents, before, after))
        slower = np.minimum(*others)
        tangents *= np.divide(slower, length, out=np.ones_like(length), where=length > slower)
        return tangents
