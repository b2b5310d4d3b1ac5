"""What a frame and its container state of their colours, and what is guessed where they state nothing.

Each frame is read by its own tags. What it does not state is taken from the container, and then guessed as mpv does:
the matrix is BT.709 from 1280 columns or above 576 lines, otherwise BT.601; the range is limited, except for grey and
for the full-range formats (yuvj). Primaries that nobody states are BT.709's. HDR has BT.2020's of both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from starcast.errors import VideoError
from starcast.runtime.video.input import advice, gamut, hdr

_HD_COLUMNS, _SD_LINES = 1280, 576
_FULL = int(ColorRange.JPEG)


class Matrix(IntEnum):
    """The scaler's numbers for the matrices (SWS_CS_*); PyAV names them all only from version 18 on."""

    BT709 = 1
    FCC = 4
    BT601 = 5
    SMPTE240M = 7
    BT2020 = 9


class Tags(NamedTuple):
    """What a frame or a container states of its colours, as numbers of ITU-T H.273. `peak`: the brightest light of HDR
    in cd/m², 0 if unknown."""

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    is_full: bool = False
    outranks_frames: bool = False
    peak: float = 0.0

    @property
    def states_colours(self) -> bool:
        """Whether anything but the range is stated."""
        return any(tag not in _UNTAGGED for tag in self[:3])


# AVColorSpace (ITU-T H.273, table 4) -> matrix
_MATRICES = {
    1: Matrix.BT709, 4: Matrix.FCC, 5: Matrix.BT601, 6: Matrix.BT601, 7: Matrix.SMPTE240M, 9: Matrix.BT2020,
}  # fmt: skip
_UNTAGGED = (0, 2, 3)  # identity (meaningless for YUV), unspecified, reserved
_NO_TAGS_INSIDE = ("vp8", "libvpx")  # decoders that state BT.601, whatever was encoded
_FOREIGN = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
# of these, those that zscale (zimg 3) converts, with all that it must be told
_CONVERSIONS = {
    8: "zscale=m=bt709,format=yuv420p", 10: "zscale=tin=bt2020-10:pin=bt2020:t=bt709:p=bt709:m=bt709,format=yuv420p",
}  # fmt: skip
UNSTATED = Tags()


def refuse_hdr(tags: Tags, name: str, sound: str = advice.COPY) -> None:
    """Raise VideoError if `tags` are those of HDR. The error suggests a conversion command, which depends on them and
    on `sound` from `advice.sound_for`."""
    if hdr.is_hdr(tags.transfer):
        curve = hdr.CURVES[tags.transfer]
        line = advice.ffmpeg_line(advice.tone_map(f"tin={curve.filters_name}{_for_zscale(tags)}"), sound=sound)
        raise VideoError(f"{name} is HDR, coded with {curve.name}: tone-map it first, with {line}")


def _for_zscale(tags: Tags) -> str:
    """What zscale must be told of an HDR film, because the film may not say it."""
    primaries = ":pin=bt2020:p=bt2020" if tags.primaries in (*_UNTAGGED, hdr.BT2020) else ""
    return primaries + (":min=bt2020nc" if tags.matrix in (*_UNTAGGED, Matrix.BT2020) else "")


def stated_by(context: Any) -> Tags:
    """The tags of a container, from a decoder's context before it has decoded anything."""
    tags = _numbers(context)
    return tags._replace(outranks_frames=context.codec.name in _NO_TAGS_INSIDE)


def tags_of(frame: VideoFrame, container: Tags = UNSTATED) -> Tags:
    """What is known of a frame's colours: its own tags where it has some, otherwise the container's, otherwise a guess.

    The two may differ in a file whose tags were changed without encoding it again. Decoders report limited range for
    frames that state nothing, so the container's full range counts for these.
    """
    own = _numbers(frame)
    is_full = own.is_full or frame.format.name.startswith("yuvj")
    ranked = (container, own) if container.outranks_frames else (own, container)
    matrix, primaries, transfer = (
        next((tag for tag in stated if tag not in _UNTAGGED), 2)
        for stated in zip(ranked[0][:3], ranked[1][:3], strict=True)
    )
    is_hdr = hdr.is_hdr(transfer)
    if matrix == 2:
        is_hd = frame.width >= _HD_COLUMNS or frame.height > _SD_LINES
        matrix = hdr.BT2020 if is_hdr else 1 if is_hd else 6
    primaries = hdr.BT2020 if is_hdr and primaries == 2 else primaries
    is_full = is_full or (container.is_full and not own.states_colours)
    peak = hdr.stated_peak(frame) or container.peak if is_hdr else 0.0
    return Tags(matrix, primaries, transfer, is_full, peak=peak)


def matrix_of(tags: Tags, name: str = "the video", sound: str = advice.COPY) -> Matrix:
    """The YUV matrix that tags state. Raises VideoError if it cannot be read."""
    if tags.matrix not in _MATRICES:
        coding = _FOREIGN.get(tags.matrix, f"matrix number {tags.matrix}")
        filters = _CONVERSIONS.get(tags.matrix)
        remedy = (
            f"convert it first with {advice.ffmpeg_line(filters, sound=sound)}" if filters else "export it as H.264"
        )
        raise VideoError(f"{name} has colours coded as {coding}, which cannot be read: {remedy}")
    return _MATRICES[tags.matrix]


def check_readable(
    frame: VideoFrame, tags: Tags, name: str, sound: str = advice.COPY, *, may_be_hdr: bool = True
) -> None:
    """Raise VideoError if a frame's colours are coded in a way that cannot be read, or HDR and it must not be."""
    is_unreadable = is_yuv(frame) and tags.matrix not in _MATRICES
    if is_unreadable or not may_be_hdr:
        refuse_hdr(tags, name, sound)
    if is_yuv(frame):
        matrix_of(tags, name, sound)


def conversion_note(tags: Tags) -> str | None:
    """How colours with these tags are changed beside their coding, as a clause; None if they are not."""
    if hdr.is_hdr(tags.transfer):
        curve, peak = hdr.CURVES[tags.transfer].name, hdr.believe(tags.peak).describe()
        return f"is HDR, coded with {curve}, and is tone-mapped to BT.709 for a peak of {peak}"
    if tags.primaries in gamut.PRIMARIES:
        return f"has {gamut.PRIMARIES[tags.primaries].name} colours, which are converted to BT.709"
    if gamut.needs_conversion(tags.primaries, tags.transfer):
        return "is coded in linear light, which is converted to BT.709"
    return None


def is_yuv(frame: VideoFrame) -> bool:
    return len(frame.format.components) >= 3 and not frame.format.is_rgb


def _numbers(source: Any) -> Tags:
    """The tags of a frame or of a decoder's context. PyAV's frames have primaries and transfer from version 17 on."""
    return Tags(
        int(source.colorspace or 0), int(getattr(source, "color_primaries", 0) or 0),
        int(getattr(source, "color_trc", 0) or 0), is_full=int(source.color_range or 0) == _FULL,
    )  # fmt: skip
