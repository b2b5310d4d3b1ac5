"""Lists of seeds on the command line: `0-15,20`, and pairs of seeds to mix: `3:7`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starcast.errors import OptionError

LARGEST_SEED = 2**32 - 1  # the largest that numpy's RandomState accepts
MOST_SEEDS = 100_000  # that a list may name


def parse_seeds(parts: Sequence[str], flag: str) -> list[int]:
    """The seeds that the parts of a list name, such as `7` and `0-15`, in order. Raises OptionError, which names
    `flag`."""
    ranges = [_range(part, flag, part) for part in parts]
    _check_count(sum(map(len, ranges)), flag)
    return [seed for one in ranges for seed in one]


def parse_mixes(parts: Sequence[str], flag: str) -> list[tuple[int, int]]:
    """The pairs of seeds that the parts of a list name, such as `3:7`; `0-3:7-9` is each of the first with each of the
    second. Raises OptionError, which names `flag`."""
    pairs: list[tuple[range, range]] = []
    for part in parts:
        coarse, colon, fine = part.partition(":")
        if not colon or ":" in fine:
            raise OptionError(f"{flag} has {part!r:.80}: give pairs of seeds, such as 3:7")
        pairs.append((_range(coarse, flag, part), _range(fine, flag, part)))
    _check_count(sum(len(coarse) * len(fine) for coarse, fine in pairs), flag)
    return [(one, other) for coarse, fine in pairs for one in coarse for other in fine]


def _range(text: str, flag: str, part: str) -> range:
    match = re.fullmatch(r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*)?", text, re.ASCII)
    if match is None:
        raise OptionError(f"{flag} has {part!r:.80}: give seeds and ranges of seeds, such as 3,7,20-22")
    first, last = int(match[1]), int(match[2] or match[1])
    if max(first, last) > LARGEST_SEED:
        raise OptionError(f"{flag} has {part!r:.80}: give whole numbers from 0 to {LARGEST_SEED}")
    if last < first:
        raise OptionError(f"{flag} has {part!r:.80}, a range that ends before it begins: give {last}-{first}")
    return range(first, last + 1)


def _check_count(count: int, flag: str) -> None:
    if count > MOST_SEEDS:
        raise OptionError(f"{flag} makes {count} styles: give at most {MOST_SEEDS} at once")
