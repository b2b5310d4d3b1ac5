"""Covers: a still image that players show for the file, such as that of an audiobook. Kept where the container can."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.output.containers import codec_of

# thumbnails are images of the video's own moments, as it was before
_NO_COVER = Disposition.timed_thumbnails | Disposition.still_image
_LARGEST = 64 * 2**20  # bytes
_KINDS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}  # what MP4 and Matroska's players show


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a cover."""
    is_picture = stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)
    return is_picture and not stream.disposition & _NO_COVER


def takes_covers(container: str, stream: Stream) -> bool:
    """Whether a cover can be kept. MOV and WebM have no place for one."""
    return container in ("mp4", "matroska") and codec_of(stream) in _KINDS


class CopiedCover:
    """A cover in MP4: a stream of one packet."""

    def __init__(self, container: OutputContainer, template: Stream) -> None:
        stream: Any = container.add_stream_from_template(template)
        self.stream = stream
        stream.disposition = Disposition.attached_pic.value
        self._is_written = False

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        """The packet, the first time."""
        assert isinstance(item, Packet)
        if self._is_written or not item.size:
            return []
        self._is_written = True
        item.time_base, item.stream, item.is_keyframe = Fraction(1, 1000), self.stream, True
        item.pts = item.dts = 0
        return [item]

    def flush(self) -> list[Packet[Any]]:
        return []


def attach(container: OutputContainer, template: Stream) -> bool:
    """Write a cover into Matroska's header, where it is a file of its own; return whether it could be read."""
    image = _image_of(template)
    if image is None or not hasattr(container, "add_attachment"):
        return False
    suffix, kind = _KINDS[codec_of(template)]
    container.add_attachment(f"cover.{suffix}", kind, image)
    return True


def _image_of(stream: Stream) -> bytes | None:
    """A cover's file. It comes before all other packets, but after the header is written: so the file is opened again.
    None if it cannot be read."""
    path = Path(stream.container.name)
    if not path.is_file():
        return None
    try:
        with open_video(path, MAX_FRAME_PIXELS) as container:
            twin = container.streams[stream.index]
            image = next((bytes(packet) for packet in container.demux(twin) if packet.size), b"")
    except (av.FFmpegError, IndexError):
        return None
    return image if 0 < len(image) <= _LARGEST else None
