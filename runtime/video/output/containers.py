"""The containers that films are written in, and which streams each of them takes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from fractions import Fraction

import av
from av.container import OutputContainer
from av.stream import Stream

from starcast.runtime.encoding import CONTAINERS

# FFmpeg writes these into MP4, but most players cannot play them
_SILENT_IN_MP4 = ("pcm_", "vorbis")

# the muxer accepts them, and nothing decodes what it wrote: the last frame of TTA comes out too long (FFmpeg 5 to 8)
_NOT_READ_BACK = {("matroska", "tta")}


def muxer_options(container: str, time_base: Fraction, *flags: str) -> dict[str, str]:
    """Options for FFmpeg's muxer; `time_base` is that of the frames, `flags` are more `movflags`."""
    if container not in ("mp4", "mov"):
        return {}
    # without this, edit lists, which hold the offsets between the streams' starts, are rounded to milliseconds
    movie_timescale = time_base.denominator * -(-1000 // time_base.denominator)
    return {"movflags": "".join(f"+{flag}" for flag in ("faststart", *flags)), "movie_timescale": str(movie_timescale)}


def takes(container: str, streams: Sequence[Stream]) -> bool:
    """Whether a container can hold these streams as they are. The muxer is asked: it writes a header into memory.

    Some refuse a codec when the stream is added, others only when the header is written.
    """
    if any((container, codec_of(stream)) in _NOT_READ_BACK for stream in streams):
        return False
    trial: OutputContainer = av.open(io.BytesIO(), "w", format=container)
    try:
        for stream in streams:
            trial.add_stream_from_template(stream)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):  # ValueError: "format does not support codec"
        return False
    else:
        return True
    finally:
        with contextlib.suppress(av.FFmpegError):  # no packet came
            trial.close()


def codec_of(stream: Stream) -> str:
    """The name of a stream's codec; empty if this FFmpeg does not know it, and for attachments and data."""
    return str(getattr(stream.codec_context, "name", ""))


def is_silent(container: str, stream: Stream) -> bool:
    """Whether most players leave this sound out, though the container takes it."""
    return container == "mp4" and codec_of(stream).startswith(_SILENT_IN_MP4)


def others_that_take(suffix: str, stream: Stream, among: Sequence[str]) -> list[str]:
    """The other suffixes `among` these, one a container, that hold a stream as it is and so that it is heard."""
    suffixes = {container: other for other, container in reversed(CONTAINERS.items()) if other in among}
    return [
        other
        for container, other in reversed(suffixes.items())
        if container != CONTAINERS[suffix] and not is_silent(container, stream) and takes(container, [stream])
    ]
