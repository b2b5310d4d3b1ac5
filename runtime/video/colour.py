"""Convert a frame to RGB with BT.709's primaries, as its tags state, and back to what is encoded: BT.709, tagged.

FFmpeg's scaler does the conversion. Its fast paths are off by up to 3 levels, so it is set to accurate rounding and
full chroma, which stay within 1 level of float64 in 8, 10 and 12 bits. Only for other primaries (`gamut`), which need
more than 8 bits in between, the matrix is applied here: in 16 bits, the scaler's white is 0.4 % too dark.
"""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from starcast.errors import VideoError
from starcast.images.white import on_white
from starcast.runtime.video.input import advice, gamut, hdr
from starcast.runtime.video.input.tags import UNSTATED, Matrix, Tags, is_yuv, matrix_of, tags_of

# weights of red and blue in luma (H.273)
_WEIGHTS = {
    Matrix.BT709: (0.2126, 0.0722), Matrix.FCC: (0.30, 0.11), Matrix.BT601: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087), Matrix.BT2020: (0.2627, 0.0593),
}  # fmt: skip
_BILINEAR, _FULL_CHROMA, _ACCURATE_ROUNDING = 2, 0x2000, 0x40000  # SWS_*: named in PyAV only from 17 on
_SCALER: Any = _BILINEAR | _FULL_CHROMA | _ACCURATE_ROUNDING

BT709 = 1  # the same number as matrix, primaries and transfer
LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)


def to_rgb(
    frame: VideoFrame, name: str = "the video", scaler: VideoReformatter | None = None, container: Tags = UNSTATED
) -> NDArray[np.uint8]:
    """A decoded frame as RGB uint8 [H, W, 3], transparency on white. Like `to_rgb_and_alpha`."""
    return to_rgb_and_alpha(frame, name, scaler, container)[0]


def to_rgb_and_alpha(
    frame: VideoFrame, name: str = "the video", scaler: VideoReformatter | None = None, container: Tags = UNSTATED
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A decoded frame as RGB uint8 [H, W, 3], transparency on white, and that transparency, uint8 [H, W], or None if
    nothing can be transparent. `name` is the file's, for errors.

    Reusing a `scaler` from frame to frame, in one thread, saves its set-up: a third of the time. Raises VideoError if
    the frame's colours cannot be converted.
    """
    scaler = scaler or VideoReformatter()
    tags = tags_of(frame, container)
    try:
        pixels = _colours(frame, tags, name, scaler)
    except av.FFmpegError as error:  # the scaler's "operation not supported"
        raise VideoError(
            f"{name} has the pixel format {frame.format.name}, which cannot be converted: "
            f"convert it first with {advice.ffmpeg_line('format=yuv420p')}"
        ) from error
    return on_white(pixels), pixels[..., 3] if pixels.shape[2] == 4 else None


def to_coded(
    pixels: NDArray[np.uint8], scaler: VideoReformatter | None = None, pixel_format: str = "yuv420p"
) -> VideoFrame:
    """RGB or RGBA uint8 [H, W, 3 or 4] as a frame of FFmpeg's `pixel_format`, tagged as BT.709: YUV in limited range,
    or RGB.

    Sides that the format's chroma does not divide are padded by repeating the edge.
    """
    height, width = pixels.shape[:2]
    rows, columns = padding(height, width, pixel_format)
    if rows or columns:
        pixels = np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge")
    is_rgb = VideoFormat(pixel_format).is_rgb
    to_bt709: dict[str, Any] = {} if is_rgb else {"dst_colorspace": Matrix.BT709}
    frame = (scaler or VideoReformatter()).reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba" if pixels.shape[2] == 4 else "rgb24"),
        format=pixel_format, src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if is_rgb else ColorRange.MPEG, interpolation=_SCALER, **to_bt709,
    )  # fmt: skip
    tag(frame, is_rgb=is_rgb)
    return frame


def padding(height: int, width: int, pixel_format: str) -> tuple[int, int]:
    """The rows and columns that an image lacks for FFmpeg's `pixel_format`, whose chroma may be coarser."""
    chroma = VideoFormat(pixel_format, 64, 64)
    return -height % (64 // chroma.chroma_height(64)), -width % (64 // chroma.chroma_width(64))


def tag(target: Any, *, is_rgb: bool = False) -> None:
    """Mark a frame or an encoder as BT.709: YUV in limited range, or RGB."""
    target.colorspace = 0 if is_rgb else BT709
    target.color_range = FULL if is_rgb else LIMITED
    if hasattr(target, "color_trc"):  # frames have these two from PyAV 17 on, encoders always
        target.color_trc = BT709
        target.color_primaries = BT709


def _colours(frame: VideoFrame, tags: Tags, name: str, scaler: VideoReformatter) -> NDArray[np.uint8]:
    """RGB or RGBA, uint8 [H, W, 3 or 4]."""
    components = len(frame.format.components)
    has_alpha = components in (2, 4) or frame.format.has_palette
    is_grey = frame.format.name.startswith(("gray", "ya8", "ya16"))
    if hdr.is_hdr(tags.transfer):
        if is_grey:
            deep = _dim(_deep_grey(frame, scaler), hdr.HEADROOM)
        else:
            deep = _deep(frame, tags, name, scaler, has_alpha=has_alpha, headroom=hdr.HEADROOM)
        pixels = hdr.tone_map(deep[..., :3], tags.primaries, tags.transfer, hdr.believe(tags.peak).nits)
        return _with_alpha(pixels, deep)
    if is_grey:
        return _grey(frame, scaler, has_alpha=has_alpha)
    if gamut.needs_conversion(tags.primaries, tags.transfer) and not frame.format.name.startswith("xyz"):
        deep = _deep(frame, tags, name, scaler, has_alpha=has_alpha)
        pixels = gamut.convert(deep[..., :3], tags.primaries, tags.transfer)
        return _with_alpha(pixels, deep)
    settings: dict[str, Any] = {"format": "rgba" if has_alpha else "rgb24", "interpolation": _SCALER}
    if is_yuv(frame):
        matrix = matrix_of(tags, name)
        # RGB has no matrix, but old PyAV ignores the source's matrix unless the destination's differs
        other = Matrix.BT709 if matrix == Matrix.FCC else Matrix.FCC
        settings |= {"src_colorspace": matrix, "src_color_range": _range(tags), "dst_colorspace": other}
    eight: Any = scaler.reformat(frame, dst_color_range=ColorRange.JPEG, **settings).to_ndarray()
    pixels = np.asarray(eight, np.uint8)
    return pixels


def _deep(
    frame: VideoFrame, tags: Tags, name: str, scaler: VideoReformatter, *, has_alpha: bool, headroom: float = 1.0
) -> NDArray[np.uint16]:
    """RGB or RGBA, uint16 [H, W, 3 or 4], white at 65535 / `headroom`, opaque at 65535."""
    alpha = "a" if has_alpha else ""
    if not is_yuv(frame):
        planar = scaler.reformat(frame, format=f"gbr{alpha}p16le", dst_color_range=ColorRange.JPEG)
        green, blue, red, *rest = _planes(planar)
        return np.dstack([_dim(cv2.merge([red, green, blue]), headroom), *rest])
    matrix, value_range = matrix_of(tags, name), _range(tags)
    planar = scaler.reformat(  # only upsamples: matrix and range stay
        frame, format=f"yuv{alpha}444p16le", interpolation=_SCALER, src_colorspace=matrix, dst_colorspace=matrix,
        src_color_range=value_range, dst_color_range=value_range,
    )  # fmt: skip
    luma, blue, red, *rest = _planes(planar)
    equation = _equation(matrix, is_full=tags.is_full, bits=frame.format.components[0].bits)
    rgb = cv2.transform(cv2.merge([luma, blue, red]), equation / headroom)  # in uint16, OpenCV rounds and clips
    return np.asarray(np.dstack([rgb, *rest]) if rest else rgb, np.uint16)


def _planes(frame: VideoFrame) -> list[NDArray[np.uint16]]:
    return [
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
        for plane in frame.planes
    ]


def _equation(matrix: Matrix, *, is_full: bool, bits: int) -> NDArray[np.float64]:
    """[3, 4]: RGB, white at 65535, from Y, Cb, Cr of `bits` bits, moved up to 16, and 1."""
    red, blue = _WEIGHTS[matrix]
    green = 1 - red - blue
    equal = np.array([
        [1, 0, 2 * (1 - red)],
        [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
        [1, 2 * (1 - blue), 0],
    ])  # fmt: skip
    level = 2**8  # a level of 8 bits, moved up
    black, middle = (0 if is_full else 16) * level, 128 * level
    luma = (2**bits - 1) * 2 ** (16 - bits) if is_full else 219 * level
    chroma = luma if is_full else 224 * level
    scaled = equal * 65535 / np.array([luma, chroma, chroma])
    return np.hstack([scaled, scaled @ -np.array([[black], [middle], [middle]], np.float64)])


def _range(tags: Tags) -> ColorRange:
    return ColorRange.JPEG if tags.is_full else ColorRange.MPEG


def _deep_grey(frame: VideoFrame, scaler: VideoReformatter) -> NDArray[np.uint16]:
    """A grey frame as RGB, without its transparency if it has any: grey in HDR has none."""
    (luma,) = _planes(scaler.reformat(frame, format="gray16le"))
    if int(frame.color_range) == LIMITED:
        luma = np.clip((luma / 257.0 - 16) * (65535 / 219), 0, 65535).round().astype(np.uint16)
    return np.asarray(cv2.merge([luma] * 3), np.uint16)


def _dim(pixels: Any, headroom: float) -> NDArray[np.uint16]:
    """Pixels of 16 bits with white at 65535 / `headroom`."""
    return np.asarray(pixels, np.uint16) if headroom == 1 else np.rint(pixels / headroom).astype(np.uint16)


def _with_alpha(pixels: NDArray[np.uint8], deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """RGB with the transparency of `deep`, if that has any."""
    return np.dstack([pixels, (deep[..., 3] >> 8).astype(np.uint8)]) if deep.shape[2] == 4 else pixels


def _grey(frame: VideoFrame, scaler: VideoReformatter, *, has_alpha: bool) -> NDArray[np.uint8]:
    """Convert a grey frame without the scaler, which reads every grey as full range, whatever its tag."""
    rgba: Any = scaler.reformat(frame, format="rgba" if has_alpha else "rgb24", interpolation=_SCALER).to_ndarray()
    if int(frame.color_range) == LIMITED:
        luma = np.arange(256, dtype=np.float64)
        stretched = np.clip(np.rint((luma - 16) * 255 / 219), 0, 255).astype(np.uint8)
        rgba[..., :3] = stretched[rgba[..., :3]]
    pixels: NDArray[np.uint8] = rgba
    return pixels
