"""Convert a frame from YUV to RGB and back, with the matrix and range that its tags state.

Decoding honours the tags. Untagged frames are read as in players: BT.601 below 720 lines, otherwise BT.709; limited
range, except for grey and for the full-range formats (yuvj). Output is BT.709, limited range, and tagged as such.

FFmpeg's scaler does the conversion. Its fast paths are off by up to 3 levels, so it is set to accurate rounding and
full chroma, which stay within 1 level of float64 in 8, 10 and 12 bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from starcast.errors import VideoError

HD_LINES = 720


class Matrix(IntEnum):
    """The scaler's numbers for the matrices (SWS_CS_*); PyAV names them all only from version 18 on."""

    BT709 = 1
    FCC = 4
    BT601 = 5
    SMPTE240M = 7
    BT2020 = 9


# AVColorSpace (ITU-T H.273, table 4) -> matrix
_MATRICES = {
    1: Matrix.BT709, 4: Matrix.FCC, 5: Matrix.BT601, 6: Matrix.BT601, 7: Matrix.SMPTE240M, 9: Matrix.BT2020,
}  # fmt: skip
_UNTAGGED = (0, 2, 3)  # identity (meaningless for YUV), unspecified, reserved
_FOREIGN = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_HDR = {16: "PQ (HDR10, Dolby Vision)", 18: "HLG"}  # AVColorTransferCharacteristic

_BILINEAR, _FULL_CHROMA, _ACCURATE_ROUNDING = 2, 0x2000, 0x40000  # SWS_*: named in PyAV only from 17 on
_SCALER: Any = _BILINEAR | _FULL_CHROMA | _ACCURATE_ROUNDING

BT709 = 1  # the same number as matrix, primaries and transfer
LIMITED = int(ColorRange.MPEG)


def refuse_hdr(transfer: int, name: str) -> None:
    """Raise VideoError if `transfer` (AVColorTransferCharacteristic) is an HDR curve, which looks grey as SDR."""
    if transfer in _HDR:
        raise VideoError(
            f"{name} is HDR, coded with {_HDR[transfer]}: tone-map it first, with `ffmpeg -i IN -vf "
            "zscale=t=linear:npl=100,format=gbrpf32le,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p "
            "-c:a copy OUT.mp4`"
        )


def to_rgb(frame: VideoFrame, name: str = "the video", scaler: VideoReformatter | None = None) -> NDArray[np.uint8]:
    """A decoded frame as RGB uint8 [H, W, 3], transparency on white. `name` is the file's, for errors.

    Reusing a `scaler` from frame to frame, in one thread, saves its set-up: a third of the time. Raises VideoError if
    the frame's colours cannot be converted.
    """
    scaler = scaler or VideoReformatter()
    components = len(frame.format.components)
    if frame.format.name.startswith(("gray", "ya8", "ya16")):
        return _grey(frame, scaler, has_alpha=components == 2)
    has_alpha = components == 4
    settings: dict[str, Any] = {"format": "rgba" if has_alpha else "rgb24", "interpolation": _SCALER}
    if not frame.format.is_rgb and components >= 3:
        matrix = matrix_of(frame, name)
        # RGB has no matrix, but old PyAV ignores the source's matrix unless the destination's differs
        other = Matrix.BT709 if matrix == Matrix.FCC else Matrix.FCC
        settings |= {"src_colorspace": matrix, "src_color_range": range_of(frame), "dst_colorspace": other}
    try:
        pixels: Any = scaler.reformat(frame, dst_color_range=ColorRange.JPEG, **settings).to_ndarray()
    except av.FFmpegError as error:  # the scaler's "operation not supported"
        raise VideoError(
            f"{name} has the pixel format {frame.format.name}, which cannot be converted: "
            "convert it first with `ffmpeg -i IN -pix_fmt yuv420p OUT.mp4`"
        ) from error
    rgb: NDArray[np.uint8] = _on_white(pixels) if has_alpha else pixels
    return rgb


def matrix_of(frame: VideoFrame, name: str = "the video") -> Matrix:
    """The YUV matrix of a frame, from its tag or else its number of lines. Raises VideoError if it is unknown."""
    tag = int(frame.colorspace)
    if tag in _MATRICES:
        return _MATRICES[tag]
    if tag not in _UNTAGGED:
        raise VideoError(
            f"{name} has colours coded as {_FOREIGN.get(tag, f'matrix number {tag}')}, which cannot be read: "
            "convert it first with `ffmpeg -i IN -vf zscale=m=bt709 -pix_fmt yuv420p OUT.mp4`"
        )
    return Matrix.BT601 if frame.height < HD_LINES else Matrix.BT709


def range_of(frame: VideoFrame) -> ColorRange:
    """The range of a frame: full if its tag or its format's name says so, otherwise limited."""
    full = int(frame.color_range) == int(ColorRange.JPEG) or frame.format.name.startswith("yuvj")
    return ColorRange.JPEG if full else ColorRange.MPEG


def to_yuv(pixels: NDArray[np.uint8], scaler: VideoReformatter | None = None) -> VideoFrame:
    """RGB uint8 [H, W, 3] as a yuv420p frame, tagged as BT.709 limited. Odd sides are padded by repeating the edge."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = (scaler or VideoReformatter()).reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"), format="yuv420p",
        src_color_range=ColorRange.JPEG, dst_colorspace=Matrix.BT709, dst_color_range=ColorRange.MPEG,
        interpolation=_SCALER,
    )  # fmt: skip
    tag(frame)
    return frame


def tag(target: Any) -> None:
    """Mark a frame or an encoder as BT.709, limited range."""
    target.colorspace = BT709
    target.color_range = LIMITED
    if hasattr(target, "color_trc"):  # frames have these two from PyAV 17 on, encoders always
        target.color_trc = BT709
        target.color_primaries = BT709


def _grey(frame: VideoFrame, scaler: VideoReformatter, *, has_alpha: bool) -> NDArray[np.uint8]:
    """Convert a grey frame without the scaler, which reads every grey as full range, whatever its tag."""
    rgba: Any = scaler.reformat(frame, format="rgba" if has_alpha else "rgb24", interpolation=_SCALER).to_ndarray()
    if int(frame.color_range) == LIMITED:
        luma = np.arange(256, dtype=np.float64)
        stretched = np.clip(np.rint((luma - 16) * 255 / 219), 0, 255).astype(np.uint8)
        rgba[..., :3] = stretched[rgba[..., :3]]
    rgb: NDArray[np.uint8] = _on_white(rgba) if has_alpha else rgba
    return rgb


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA [H, W, 4] over white, rounded."""
    colours, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
