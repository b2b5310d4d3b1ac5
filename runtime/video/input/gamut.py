"""Convert RGB of other primaries (BT.2020, Display P3, SMPTE-C …) to BT.709's, in linear light.

Primaries are those of ITU-T H.273. Light is what a screen gives, as in mpv and zscale: BT.709's and BT.2020's curves
count as BT.1886's, a power of 2.4. Colours that BT.709 does not contain are clipped, channel by channel.

The curve stays the source's, because players show its values as they are: a grey of 128 is shown as 128, whether it is
tagged BT.709, sRGB or gamma 2.2. Only linear light, which no screen takes, gets a curve.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Matrix3 = NDArray[np.float64]
Point = tuple[float, float]

_D65: Point = (0.3127, 0.3290)
_C: Point = (0.310, 0.316)
_LEVELS = 65536


class Primaries(NamedTuple):
    """Chromaticities (x, y) of a colour space."""

    name: str
    red: Point
    green: Point
    blue: Point
    white: Point


BT709 = Primaries("BT.709", (0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
_SMPTE_C = Primaries("SMPTE-C", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)

# H.273, table 2 (AVColorPrimaries); what is not here counts as BT.709
PRIMARIES = {
    4: Primaries("BT.470 M", (0.670, 0.330), (0.210, 0.710), (0.140, 0.080), _C),
    5: Primaries("BT.470 BG", (0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: _SMPTE_C,
    7: _SMPTE_C,
    8: Primaries("film", (0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: Primaries("BT.2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    10: Primaries("CIE XYZ", (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: Primaries("DCI-P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: Primaries("Display P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: Primaries("EBU 3213", (0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}


def _from_srgb(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _to_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.04045 / 12.92, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _power(gamma: float) -> tuple[Curve, Curve]:
    return lambda v: v**gamma, lambda light: light ** (1 / gamma)


_LINEAR = 8
_BT1886 = _power(2.4)
# H.273, table 3 (AVColorTransferCharacteristic) -> to light, from light; what is not here has BT.1886's curve
_CURVES: dict[int, tuple[Curve, Curve]] = {
    4: _power(2.2), 5: _power(2.8), _LINEAR: (lambda v: v, _BT1886[1]), 13: (_from_srgb, _to_srgb), 17: _power(2.6),
}  # fmt: skip


class Conversion(NamedTuple):
    """Three steps from RGB of 16 bits a channel: a table to light, a matrix, and a table to bytes."""

    to_light: NDArray[np.uint16]
    matrix: Matrix3
    to_bytes: NDArray[np.uint8]


def needs_conversion(primaries: int, transfer: int) -> bool:
    """Whether colours with these tags (H.273) differ from BT.709's."""
    return primaries in PRIMARIES or transfer == _LINEAR


def convert(pixels: NDArray[np.uint16], primaries: int, transfer: int) -> NDArray[np.uint8]:
    """RGB uint16 [H, W, 3], white at 65535, with these tags (H.273), as RGB uint8 with BT.709's primaries."""
    to_light, matrix, to_bytes = conversion(primaries, transfer)
    light = cv2.transform(_look_up(to_light, pixels), matrix)  # in uint16, OpenCV rounds and clips
    return _look_up(to_bytes, np.asarray(light, np.uint16))


@functools.lru_cache(maxsize=16)
def conversion(primaries: int, transfer: int) -> Conversion:
    """The steps for colours with these tags (H.273)."""
    to_light, from_light = _CURVES.get(transfer, _BT1886)
    levels = np.arange(_LEVELS) / (_LEVELS - 1)
    return Conversion(
        np.rint(to_light(levels) * (_LEVELS - 1)).astype(np.uint16),
        matrix_between(PRIMARIES.get(primaries, BT709), BT709),
        np.rint(np.clip(from_light(levels), 0, 1) * 255).astype(np.uint8),
    )


def matrix_between(source: Primaries, target: Primaries) -> Matrix3:
    """The matrix from linear RGB to linear RGB. White stays white: other whites are adapted by Bradford's method."""
    return np.asarray(np.linalg.inv(_to_xyz(target)) @ _adapt(source.white, target.white) @ _to_xyz(source), np.float64)


def _to_xyz(space: Primaries) -> Matrix3:
    corners = np.array([_xyz(space.red), _xyz(space.green), _xyz(space.blue)]).T
    return np.asarray(corners * np.linalg.solve(corners, _normalised(space.white)), np.float64)


def _adapt(source: Point, target: Point) -> Matrix3:
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (cones @ _normalised(target)) / (cones @ _normalised(source))
    return np.asarray(np.linalg.inv(cones) @ np.diag(gains) @ cones, np.float64)


def _xyz(point: Point) -> NDArray[np.float64]:
    return np.array([point[0], point[1], 1 - point[0] - point[1]])


def _normalised(white: Point) -> NDArray[np.float64]:
    return _xyz(white) / white[1]


def _look_up(table: NDArray[Any], pixels: NDArray[np.uint16]) -> NDArray[Any]:
    try:
        return np.asarray(cv2.LUT(pixels, table))
    except cv2.error:  # before version 5, OpenCV looks up bytes only; NumPy takes four times as long
        return np.asarray(table[pixels])
