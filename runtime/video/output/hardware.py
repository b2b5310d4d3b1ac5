"""Encoders in GPUs and other chips: which of them work on this machine, and how they are told quality and speed.

That FFmpeg lists an encoder says nothing of the chip or its driver, so each is tried with one frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

import av

from starcast.errors import reason_of
from starcast.runtime.encoding import AUTO, PRESETS, EncodingOptions
from starcast.runtime.video.output.codecs import HARDWARE_CODECS

# how --hardware names a maker's encoders -> codec -> FFmpeg's encoder; tried in this order
ENCODERS: Mapping[str, Mapping[str, str]] = {
    maker: {codec: f"{codec}_{maker}" for codec in codecs} for maker, codecs in HARDWARE_CODECS.items()
}
_NVENC_SPEEDS = dict(zip(PRESETS, ("p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", "p7"), strict=True))
_QSV_SPEEDS = {preset: "veryfast" if preset in PRESETS[:2] else preset for preset in PRESETS}
_PROBE_SIDES = (320, 256)  # NVENC takes nothing below 145x49
_LAMBDA = 118  # FF_QP2LAMBDA: what `-q:v` of the ffmpeg program is multiplied with


def candidates(encoding: EncodingOptions) -> Iterator[tuple[str, str]]:
    """The makers that are asked for and have the codec, each with its encoder."""
    wanted = ENCODERS if encoding.hardware == AUTO else {encoding.hardware: ENCODERS.get(encoding.hardware, {})}
    for maker, encoders in wanted.items():
        if encoding.codec is not None and encoding.codec in encoders:
            yield maker, encoders[encoding.codec]


def is_hardware(encoder: str) -> bool:
    """Whether `settings_for` knows an encoder."""
    return encoder.endswith(tuple(f"_{maker}" for maker in ENCODERS))


def settings_for(encoder: str, encoding: EncodingOptions) -> dict[str, str]:
    """An encoder's own options for the quality and the speed that are asked for."""
    maker, preset, crf = encoder.rsplit("_", 1)[-1], encoding.preset or "", encoding.crf
    settings: dict[str, str] = {}
    if maker == "nvenc":
        settings |= {"preset": _NVENC_SPEEDS[preset], "rc": "vbr"}
        if crf is not None:
            settings["cq"] = str(max(1, crf))  # 0 leaves the choice to the driver
    elif maker == "qsv":
        settings |= {"preset": _QSV_SPEEDS[preset]}
        if crf is not None:
            settings["global_quality"] = str(max(1, _scaled(crf, encoding, 51)))
    elif maker == "vaapi" and crf is not None:
        most = 255 if encoding.codec in ("av1", "vp9") else 51
        settings |= {"rc_mode": "CQP", "global_quality": str(max(1, _scaled(crf, encoding, most)))}
    elif maker == "videotoolbox" and crf is not None:
        quality = max(1, 100 - _scaled(crf, encoding, 100))
        settings |= {"flags": "+qscale", "global_quality": str(quality * _LAMBDA)}
    return settings


def open_options(encoder: str) -> dict[str, Any]:
    """What PyAV's `add_stream` needs besides an encoder's options: the device, where frames are uploaded to it."""
    if not encoder.endswith("_vaapi"):
        return {}
    from av.codec.hwaccel import HWAccel

    return {"hwaccel": HWAccel(device_type="vaapi")}


@cache
def why_not(encoder: str, pixel_format: str, settings: tuple[tuple[str, str], ...]) -> str | None:
    """Why an encoder does not work on this machine; None if it encoded a frame."""
    width, height = _PROBE_SIDES
    try:
        with av.open(os.devnull, "w", format="null") as container:
            stream: Any = container.add_stream(
                encoder, rate=Fraction(25), options=dict(settings), **open_options(encoder)
            )
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            frame = av.VideoFrame(width, height, "yuv420p").reformat(format=pixel_format)
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            packets = [*stream.encode(frame), *stream.encode(None)]
    except (av.FFmpegError, ValueError, TypeError, NotImplementedError, RuntimeError, OSError) as error:
        # TypeError: an old PyAV, which cannot upload frames
        return _reason(error)
    return None if packets else "it encodes nothing"


def _scaled(crf: int, encoding: EncodingOptions, most: int) -> int:
    """A quality on another scale, which ends in `most`."""
    return round(crf * most / (63 if encoding.codec in ("av1", "vp9") else 51))


def _reason(error: Exception) -> str:
    """What FFmpeg logged about an error, which names the missing driver or device; otherwise the error."""
    log = getattr(error, "log", None)
    if log and str(log[-1]).strip():
        return str(log[-1]).strip().rstrip(".")
    said = reason_of(error) if isinstance(error, OSError) else str(error).split(":")[0]
    return "it cannot be opened" if not said or "Unknown error" in said else said
