"""Keyframes as text or YAML: styles, or numbers, that are given at some times.

    0 dog seed=7; 2.5s cat ref=a.jpg; 50% wild seed=3 psi=0.7 ease=hold
    0 1.00; 10s 1.05; 1:30 1.00

Keys are separated by semicolons, the words of a key by blanks; a name with a blank or a semicolon is quoted. A colon
may follow the time. In YAML, the same is a list of mappings: `- {time: 2.5, domain: cat, ref: a.jpg}`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from starcast.comma_lists import split_commas
from starcast.errors import OptionError, printable
from starcast.runtime.seed_lists import LARGEST_SEED
from starcast.runtime.video.strict_yaml import read_strictly
from starcast.runtime.video.timeline.key_times import EXAMPLES, KeyTime, parse_time
from starcast.runtime.video.timeline.spline import EASES, SMOOTH

MOST_KEYS = 10_000
STYLE_KEYS = "--style-keys"
_FILES = (".yaml", ".yml")
_STRONGEST = 2.0  # psi


@dataclass(frozen=True, kw_only=True)
class StyleKey:
    """A style at a time, and how it leads to the next key. What is None or empty was not given."""

    time: KeyTime
    ease: str = SMOOTH
    domain: str | None = None
    seed: int | None = None
    ref: Path | None = None
    psi: float | None = None
    set: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    flip: tuple[str, ...] = ()
    has: tuple[str, ...] | None = None
    labels: tuple[float, ...] | None = None


class NumberKey(NamedTuple):
    """Numbers at a time, and how they lead to the next key."""

    time: KeyTime
    values: tuple[float, ...]
    ease: str = SMOOTH


def parse_keys(given: object, folder: Path | None = None) -> tuple[StyleKey, ...]:
    """The keys in text, in a list of mappings, or in the YAML file that the text names. Relative paths of references
    are relative to `folder`, in a file to the file's own. Raises OptionError."""
    if isinstance(given, str) and is_key_file(given):
        path = Path(given)
        return parse_keys(read_strictly(path), path.parent)
    if isinstance(given, str):
        entries: Sequence[Any] = [_mapping_of(words, "domain") for words in _entries(given, STYLE_KEYS)]
    elif isinstance(given, Sequence) and not isinstance(given, bytes):
        entries = given
    else:
        raise OptionError(f"{STYLE_KEYS}: give a list of keys, each with a time: {EXAMPLES}")
    if not 0 < len(entries) <= MOST_KEYS:
        raise OptionError(f"{STYLE_KEYS} has {len(entries)} keys: give 1 to {MOST_KEYS}, such as 0 dog; 5s cat")
    return tuple(_style_key(entry, folder) for entry in entries)


def parse_numbers(
    given: str, flag: str, *, minimum: Sequence[float], maximum: Sequence[float]
) -> tuple[NumberKey, ...]:
    """The keys of `--flag`: numbers between `minimum` and `maximum`, of which each key has as many as these, separated
    by commas. A value without a time holds for the whole video. Raises OptionError."""
    entries = _entries(given, flag)
    if len(entries) == 1 and len(entries[0]) == 1 and ":" not in entries[0][0]:
        entries = [["0", *entries[0]]]
    keys = []
    for words in entries:
        entry = _mapping_of(words, "value")
        time, ease = _time_of(entry, flag), _ease_of(entry, flag)
        text = entry.pop("value", None)
        if text is None or entry:
            raise OptionError(
                f'{flag} has {printable(" ".join(words))}: give a time and a value, such as "0 1; 10s 1.5"'
            )
        numbers = _numbers(text, f"{flag} at {time.text}")
        if len(numbers) != len(minimum):
            raise OptionError(f"{flag} at {time.text} has {len(numbers)} numbers: give {len(minimum)}")
        for number, least, most in zip(numbers, minimum, maximum, strict=True):
            if not least <= number <= most:
                raise OptionError(f"{flag} at {time.text} is {number:g}: give {least:g} to {most:g}")
        keys.append(NumberKey(time, numbers, ease))
    return tuple(keys)


def is_key_file(text: str) -> bool:
    """Whether `--style-keys` names a file of keys rather than the keys themselves."""
    return Path(text).suffix.lower() in _FILES and (" " not in text.strip() or Path(text).is_file())


def _entries(text: str, flag: str) -> list[list[str]]:
    """The words of each key."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise OptionError(f"{flag} has an open quote: put a name with a quote into quotes of the other kind") from error
    entries: list[list[str]] = [[]]
    for word in words:
        if set(word) == {";"}:
            entries.append([])
        else:
            entries[-1].append(word)
    return [words for words in entries if words]


def _mapping_of(words: Sequence[str], first: str) -> dict[str, str]:
    """The words of a key by name. `first`: the name of the word that needs none."""
    time, *others = _split_time(words)
    entry = {"time": time}
    for word in others:
        name, equals, value = word.partition("=")
        if not equals:
            is_ease = word in EASES and "ease" not in entry
            name, value = "ease" if is_ease else first, word
        if name in entry:
            raise OptionError(
                f"the key {printable(' '.join(words))} has two values for {name}: leave one out, or end "
                "each key with a semicolon"
            )
        entry[name] = value
    return entry


def _split_time(words: Sequence[str]) -> list[str]:
    """The words with the time as the first: `0:`, `0:dog` and `0 dog` all begin with the time 0."""
    first, *others = words
    if parse_time(first) is not None and (others or ":" not in first):
        return [first, *others]
    time, colon, rest = first.rpartition(":")
    return [time, *([rest] if rest else []), *others] if colon else [first, *others]


def _style_key(given: Any, folder: Path | None) -> StyleKey:
    if not isinstance(given, Mapping):
        raise OptionError(f"{STYLE_KEYS}: a key is not a mapping: give each as {{time: 2.5, domain: dog, seed: 7}}")
    entry = {str(name): value for name, value in given.items()}
    time = _time_of(entry, STYLE_KEYS)
    at = f"{STYLE_KEYS} at {time.text}"
    unknown = [name for name in entry if name not in _READERS and name != "ease"]
    if unknown:
        raise OptionError(f"{at} has {printable(unknown[0])}: give {', '.join(_READERS)} or ease")
    ease = _ease_of(entry, at)
    values = {name: _READERS[name](value, f"{at}: {name}") for name, value in entry.items() if value is not None}
    if not values:
        raise OptionError(f"{at} has no style: give a domain, a seed or a reference, such as {time.text} dog seed=7")
    if values.get("ref") is not None and folder is not None:
        values["ref"] = folder / values["ref"]
    ways = [name for name in ("seed", "ref", "labels") if values.get(name) is not None]
    if len(ways) > 1:
        raise OptionError(f"{at} has {ways[0]} and {ways[1]}: a style has one of them")
    return StyleKey(time=time, ease=ease, **values)


def _time_of(entry: dict[str, Any], flag: str) -> KeyTime:
    given = entry.pop("time", None)
    time = parse_time(given)
    if time is None:
        shown = printable(given) if isinstance(given, str) else "a key without a time" if given is None else "a key"
        raise OptionError(f"{flag} has {shown}, and a key begins with its time: {EXAMPLES}")
    return time


def _ease_of(entry: dict[str, Any], flag: str) -> str:
    ease = entry.pop("ease", None) or SMOOTH
    if not isinstance(ease, str) or ease not in EASES:
        raise OptionError(f"{flag} has another ease than {', '.join(EASES)}: give one of these")
    return ease


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise OptionError(f"{what} is not a name: put it in quotes")
    return str(value)


def _numbers(value: Any, what: str) -> tuple[float, ...]:
    parts = split_commas(value) if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        if any(isinstance(part, bool) or not isinstance(part, str | int | float) for part in parts):
            raise ValueError
        numbers = tuple(map(float, parts))
    except (ValueError, OverflowError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        shown = f" {printable(value)}" if isinstance(value, str) else ""
        raise OptionError(f"{what}{shown} is not a number: give one, such as 1.05")
    return numbers


def _seed(value: Any, what: str) -> int:
    [number, *others] = _numbers(value, what)
    if others or number != int(number) or not 0 <= number <= LARGEST_SEED:
        raise OptionError(f"{what} is no seed: give a whole number from 0 to {LARGEST_SEED}")
    return int(number)


def _psi(value: Any, what: str) -> float:
    [number, *others] = _numbers(value, what)
    if others or not 0 <= number <= _STRONGEST:
        raise OptionError(f"{what} is out of range: give 0 to {_STRONGEST:g}")
    return number


def _names(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(part, what) for part in value)
    return split_commas(_text(value, what))


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "domain": _text,
    "seed": _seed,
    "ref": lambda value, what: Path(_text(value, what)),
    "psi": _psi,
    "set": _names,
    "unset": _names,
    "flip": _names,
    "has": _names,
    "labels": _numbers,
}
