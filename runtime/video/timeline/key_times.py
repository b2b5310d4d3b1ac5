"""Times on the command line and in YAML: `2.5`, `2.5s`, `1:30`, `00:01:30.500`, `120f` (a frame), `50%`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from starcast.errors import OptionError, printable

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}"
_PLAIN = re.compile(rf"({_NUMBER})\s*(ms|s|f|%)?", re.ASCII)
_CLOCK = re.compile(rf"(?:([0-9]{{1,4}}):)?([0-9]{{1,4}}):({_NUMBER})", re.ASCII)
EXAMPLES = "2.5s, 1:30, 00:01:30.5, 120f for a frame, or 50% of the video"


@dataclass(frozen=True)
class KeyTime:
    """A time in a video: `amount` seconds ("s"), frames ("f"), or hundredths of the whole ("%"). `text` as given."""

    amount: Fraction
    unit: str
    text: str

    def seconds(self, rate: Fraction, duration_s: Fraction | None) -> Fraction:
        """The time in seconds, in a video of `rate` frames per second. Raises OptionError if the video's duration is
        needed and unknown."""
        if self.unit == "f":
            return self.amount / rate
        if self.unit == "s":
            return self.amount
        if duration_s is None:
            raise OptionError(f"{self.text} of a video whose duration is unknown: give the time in seconds")
        return self.amount * duration_s / 100


def parse_time(given: object) -> KeyTime | None:
    """The time that text or a number of seconds says; None if it says none."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None
    text = str(given).strip()
    if plain := _PLAIN.fullmatch(text):
        amount, unit = Fraction(plain[1]), plain[2] or "s"
        if (unit == "f" and amount.denominator != 1) or (unit == "%" and amount > 100):
            return None
        return KeyTime(amount / 1000, "s", text) if unit == "ms" else KeyTime(amount, unit, text)
    if clock := _CLOCK.fullmatch(text):
        minutes = 60 * int(clock[1] or 0) + int(clock[2])
        return KeyTime(60 * minutes + Fraction(clock[3]), "s", text)
    return None


def parse_duration(text: str, flag: str) -> Fraction:
    """A duration in seconds, more than 0. Raises OptionError, which names `flag`."""
    time = parse_time(text)
    if time is None or time.unit != "s" or not time.amount:
        raise OptionError(f"{flag} is {printable(text)}: give a duration, such as 60s or 1:30")
    return time.amount
