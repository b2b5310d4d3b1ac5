"""What was wrong with a video, in sentences; any of them makes the exit status 1."""

from __future__ import annotations

from starcast.command_line import command_line
from starcast.runtime.video.input.advice import FIND_LATE_STREAMS
from starcast.runtime.video.input.film import Film


def failures_of(source: Film, refused: int) -> list[str]:
    """A sentence for each problem of a source that was read. `refused`: its packets that the muxer did not take."""
    failures = []
    damaged = source.damaged + refused
    if damaged or source.patched:
        packets = "1 packet" if damaged == 1 else f"{damaged} packets"
        frames = "1 frame was" if source.patched == 1 else f"{source.patched} frames were"
        failures.append(
            f"{source.name} is damaged: {packets} could not be used and {frames} repaired; the rest is translated"
        )
    if source.holes:
        failures.append(
            f"{source.name} is damaged: {_holes(source)} cannot be read, so frames or sound are missing there; the "
            "rest is translated"
        )
    if source.has_late_streams:
        failures.append(
            f"{source.name} has a stream that begins late, which is left out: copy all streams into a new file first, "
            f"with `{command_line(*FIND_LATE_STREAMS)}`, and translate that"
        )
    if source.ends_early:
        failures.append(f"{source.name} ends early, cut short or damaged: what could be decoded is translated")
    if source.lacks_streams:
        failures.append(
            f"{source.name} was joined from recordings with different streams, and those that the first lacks are left "
            "out: split it where it was joined, and translate each part by itself"
        )
    if source.is_followed:
        failures.append(
            f"{source.name} holds a second video after the first, and only the first is translated: split it where "
            "it was joined, and translate each part by itself"
        )
    return [*failures, *source.problems]


def _holes(source: Film) -> str:
    at = "" if source.first_hole_s is None else f"{float(source.first_hole_s):.1f} s after the start"
    if source.holes == 1:
        return f"a part of it {at}".rstrip()
    return f"{source.holes} parts of it" + (f", the first {at}," if at else "")
