"""Lists on the command line: `a,b`. A name with a comma is quoted (`'"a,b",c'`), or known as a whole."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence

from starcast.errors import OptionError, printable

QUOTE = '"'


def split_commas(text: str) -> tuple[str, ...]:
    """The parts of a list, without blanks around them and without empty ones. Raises OptionError on an open quote."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise OptionError(
            f"the list {printable(text)} has a quote in the middle or an open one ({error}): quote a name as a whole"
        ) from error
    return tuple(part.strip() for row in rows for part in row if part.strip())


def join_commas(names: Iterable[str]) -> str:
    """The list that `split_commas` reads as these names."""
    return ",".join(f'"{name.replace(QUOTE, 2 * QUOTE)}"' if set(name) & {",", QUOTE} else name for name in names)


def rejoin(parts: Sequence[str], is_known: Callable[[str], bool]) -> tuple[str, ...]:
    """The parts, but those that make up one known name with commas are put together again; the longest name wins."""
    names: list[str] = []
    start = 0
    while start < len(parts):
        for end in range(len(parts), start + 1, -1):
            whole = next((name for comma in (",", ", ") if is_known(name := comma.join(parts[start:end]))), None)
            if whole is not None:
                names.append(whole)
                start = end
                break
        else:
            names.append(parts[start])
            start += 1
    return tuple(names)
