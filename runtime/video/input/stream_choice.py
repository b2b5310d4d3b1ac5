"""Choose among a file's video streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from av.video.stream import VideoStream

from starcast.errors import OptionError, printable
from starcast.runtime.video.timing import as_fraction

_ORDER = "v:"


def choose(moving: Sequence[VideoStream], wanted: str | None, best: Any, name: str) -> VideoStream:
    """One of the streams of a file, which `name` shows. `wanted`: its number in the file, or v: and its number among
    them; None: `best`, or else the first. Raises OptionError, which lists them, if it is not there."""
    if wanted is None:
        return next((stream for stream in moving if best is not None and stream.index == best.index), moving[0])
    if wanted.startswith(_ORDER):
        chosen = dict(enumerate(moving)).get(int(wanted.removeprefix(_ORDER)))
    else:
        chosen = next((stream for stream in moving if stream.index == int(wanted)), None)
    if chosen is None:
        listed = ", ".join(map(_describe, moving))
        raise OptionError(f"--stream {wanted}: {name} has no such video stream, but {listed}: give one of these")
    return chosen


def _describe(stream: VideoStream) -> str:
    """A stream's number, size, rate and language."""
    context, rate = stream.codec_context, as_fraction(stream.average_rate)
    facts = [f"{context.width}x{context.height}" if context is not None else "of an unknown codec"]
    if rate:
        facts.append(f"{float(rate):.4g} frames/s")
    metadata = {key.lower(): value for key, value in stream.metadata.items()}
    facts += [printable(metadata[key]) for key in ("language", "title") if metadata.get(key)]
    return f"{stream.index} ({', '.join(facts)})"
