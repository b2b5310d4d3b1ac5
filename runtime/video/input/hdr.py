"""Tone-map HDR, coded with PQ or HLG, to BT.709: the arithmetic of FFmpeg's zscale and tonemap filters.

Like the line in `advice.tone_map`: signal to light in units of SDR white, primaries to BT.709's, Hable's curve by the
brightest channel, BT.1886's curve. Two things are done as zscale does them:

- HLG's system gamma of 1.2 is applied to each channel. BT.2100 applies it to luminance, which makes saturated colours
  up to 30 levels different, and grey the same.
- Colours that BT.709 does not contain keep their negative values until YUV, whose range clips them.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from starcast.runtime.video.input import gamut
from starcast.runtime.video.input.side_data import read_side_data

PQ, HLG = 16, 18  # AVColorTransferCharacteristic (ITU-T H.273, table 3)
BT2020 = 9  # as primaries and as matrix
SDR_WHITE = 100  # cd/m², the unit of light here
USUAL_PEAK = 1000  # cd/m², of displays that HDR is mastered on, where nothing is stated
_BELIEVED = (10, 10000)  # cd/m²: PQ codes no more, and no film is darker
_LEVELS = 65536
_STRIP = 2**16  # pixels
HEADROOM = 1.25  # signal of 65535: RGB that comes from YUV may exceed white
_LIMIT = 2  # of zscale's table of the curve: what is above is as bright as this, and what is below minus this is 0
_KR, _KB = 0.2126, 0.0722  # weights of red and blue in BT.709's luma
_CONTENT_LIGHT = struct.Struct("=2I")  # AVContentLightMetadata: its maximum and the largest average of a frame
_MASTERING = struct.Struct("=22i")  # AVMasteringDisplayMetadata: ten fractions, and whether the two kinds are there

_LUMA = np.array([_KR, 1 - _KR - _KB, _KB])
_DIFFERENCES = [(np.eye(3)[2] - _LUMA) / (2 * (1 - _KB)), (np.eye(3)[0] - _LUMA) / (2 * (1 - _KR))]
_FULL_YUV = np.vstack([219 * _LUMA, 224 * _DIFFERENCES[0], 224 * _DIFFERENCES[1]])
_BLACK = np.array([[16.0], [128.0], [128.0]])
_TO_YUV = np.hstack([_FULL_YUV, _BLACK]).astype(np.float32)  # levels of 8 bits, limited range
_FROM_YUV = np.hstack([np.linalg.inv(_FULL_YUV), -np.linalg.inv(_FULL_YUV) @ _BLACK]).astype(np.float32)


class Curve(NamedTuple):
    """What people call a transfer curve, and zscale's name for it."""

    name: str
    filters_name: str


CURVES = {PQ: Curve("PQ (HDR10, Dolby Vision)", "smpte2084"), HLG: Curve("HLG", "arib-std-b67")}


class Peak(NamedTuple):
    """The brightest light of a film, in cd/m². `stated`: what the film says, 0 if nothing."""

    nits: float
    stated: float

    def describe(self) -> str:
        if self.nits == self.stated:
            return f"{self.nits:g} cd/m² as it states"
        if self.stated:
            return f"{self.nits:g} cd/m², because the {self.stated:g} that it states cannot be right"
        return f"{self.nits:g} cd/m², because it states none"


def is_hdr(transfer: int) -> bool:
    return transfer in CURVES


def stated_peak(frame: VideoFrame) -> float:
    """The peak that a frame's metadata states, in cd/m²; 0 if none. That of its content goes before its display's."""
    try:
        found = read_side_data(frame, "CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA")
    except ValueError:  # this PyAV fails on side data of a kind it does not know
        return 0
    return peak_in(found)


def peak_in(found: Mapping[str, bytes]) -> float:
    """The peak in a frame's side data, as `stated_peak` gives it."""
    content = found.get("CONTENT_LIGHT_LEVEL", b"")
    if len(content) >= _CONTENT_LIGHT.size and (brightest := _CONTENT_LIGHT.unpack_from(content)[0]):
        return float(brightest)
    mastering = found.get("MASTERING_DISPLAY_METADATA", b"")
    if len(mastering) >= _MASTERING.size:
        *_, numerator, denominator, _, has_light = _MASTERING.unpack_from(mastering)
        if has_light and numerator > 0 and denominator > 0:
            return float(numerator / denominator)
    return 0


def believe(stated: float) -> Peak:
    """The peak to map for, where a film states `stated` cd/m², 0 for nothing."""
    darkest, brightest = _BELIEVED
    return Peak(stated if darkest <= stated <= brightest else USUAL_PEAK, stated)


def tone_map(pixels: NDArray[np.uint16], primaries: int, transfer: int, peak: float) -> NDArray[np.uint8]:
    """RGB uint16 [H, W, 3], white at 65535 / HEADROOM, with these tags (H.273), as BT.709 in uint8. `peak`: in cd/m².

    Primaries that are not stated (2) are BT.2020's.
    """
    table, matrix, brightest = _to_light(transfer), _matrix(primaries), peak / SDR_WHITE
    mapped = np.empty(pixels.shape, np.uint8)
    rows = max(1, _STRIP // pixels.shape[1])
    for top in range(0, len(pixels), rows):  # what is computed in between stays in the CPU's cache: half the time
        strip = slice(top, top + rows)
        light = np.asarray(cv2.transform(table[pixels[strip]], matrix), np.float32)
        cv2.merge(_dim([*cv2.split(light)], brightest), dst=mapped[strip])
    return mapped


def _dim(channels: list[Any], peak: float) -> list[Any]:
    """The light of three channels, float32, as BT.709 in uint8. Changes its input."""
    brightest = np.maximum(cv2.max(cv2.max(channels[0], channels[1]), channels[2]), 0)
    gain = _gain(brightest) / np.float32(_gain(peak) * peak)  # so that the curve has white at the peak
    for channel in channels:
        np.multiply(channel, gain, out=channel)
        root = cv2.pow(np.minimum(np.abs(channel), _LIMIT), 1 / 2.4) * (channel > -_LIMIT)
        np.copysign(root, channel, out=channel)
    if any(channel.min() < 0 or channel.max() > 1 for channel in channels):
        channels = _clip(channels)
    return [cv2.convertScaleAbs(channel, alpha=255) for channel in channels]


def _clip(channels: list[Any]) -> list[Any]:
    """Colours that BT.709 does not contain, as they come out of YUV of 8 bits."""
    yuv = cv2.transform(cv2.merge(channels), _TO_YUV)
    return [*cv2.split(np.clip(cv2.transform(np.clip(yuv, 0, 255), _FROM_YUV), 0, 1))]


def _gain(light: Any) -> Any:
    """Hable's curve, divided by the light that it is of. Multiplied out, so that light of 0 needs no care."""
    a, b, c, d, e, f = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30  # shoulder, linear part and its angle, and three of the toe
    return (a * (f - e) * light + b * (c * f - e)) / (f * ((a * light + b) * light + d * f))


@functools.lru_cache
def _to_light(transfer: int) -> NDArray[np.float32]:
    """The light of each level of 16 bits, SDR's white at 1."""
    signal = np.linspace(0, HEADROOM, _LEVELS, dtype=np.float64)
    return (_pq(signal) if transfer == PQ else _hlg(signal)).astype(np.float32)


def _pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: up to 10000 cd/m²."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (10000 / SDR_WHITE)


def _hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100: light of the scene, and a display of 1000 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return scene**1.2 * (1000 / SDR_WHITE)


@functools.lru_cache
def _matrix(primaries: int) -> NDArray[np.float32]:
    space = gamut.PRIMARIES.get(BT2020 if primaries == 2 else primaries, gamut.BT709)
    return gamut.matrix_between(space, gamut.BT709).astype(np.float32)
