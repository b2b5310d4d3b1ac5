"""Sentences for an output that cannot be written, because something is in its place."""

from __future__ import annotations

import os

from starcast.errors import printable

ANOTHER = "choose another -o"
OVERWRITE = "give --overwrite"


def already(path: str | os.PathLike[str], what: str, *ways: str) -> str:
    """`out.mp4 already exists: choose another -o, or give --overwrite`: an output of ours, or another's, is at `path`.

    `what` follows "already"; `ways` are what the user can do instead of choosing another place.
    """
    return f"{printable(path)} already {what}: {', or '.join((ANOTHER, *ways))}"


def in_the_way(path: str | os.PathLike[str], what: str, *, of: str = "") -> str:
    """`run/samples is in the way (a file): move it away, or choose another -o`: what no flag replaces.

    `of`: what was to be written there, where that is not the output that was named.
    """
    return f"{printable(path)} is in the way{f' of {of}' if of else ''} ({what}): move it away, or {ANOTHER}"
