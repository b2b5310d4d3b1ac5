"""Paths in messages."""

from __future__ import annotations

import os


def printable(path: str | os.PathLike[str]) -> str:
    """A path as one printable line: control characters and undecodable bytes are escaped."""
    text = os.fspath(path)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
