"""The options that say which part of a video is translated."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, option
from starcast.runtime.video.timeline.key_times import EXAMPLES, KeyTime, parse_time


@dataclass(frozen=True, kw_only=True)
class TrimOptions(CheckedOptions):
    """Which part of a video is translated."""

    start: str | None = option(
        None, "Leave out what is before this time: seconds, HH:MM:SS.mmm, 50%, or 120f for a frame, counted from 0.",
        metavar="TIME",
    )  # fmt: skip
    end: str | None = option(
        None, "Leave out what is shown from this time on, given like --start. Sound, subtitles and chapters are "
        "trimmed, too.", metavar="TIME",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        start, end = self.range
        if end is not None and not end.amount:
            raise OptionError(f"--end {end.text} leaves nothing: give a later time")
        if start is not None and end is not None and start.unit == end.unit and start.amount >= end.amount:
            raise OptionError(f"--start {start.text} is not before --end {end.text}: give an earlier start")

    @property
    def range(self) -> tuple[KeyTime | None, KeyTime | None]:
        """The times of --start and --end; None where they were not given."""
        return _time(self.start, "--start"), _time(self.end, "--end")


def _time(text: str | None, flag: str) -> KeyTime | None:
    if text is None:
        return None
    time = parse_time(text)
    if time is None:
        raise OptionError(f"{flag} is {printable(text)}: give a time, such as {EXAMPLES}")
    return time
