"""The mark of a translation: a line in its metadata that says which settings and which source made it.

    starcast settings=5b9c… content=90f1… place=c41d…

    settings   bundle, style, fit and precision
    content    every byte of the source
    place      the source's path, to distinguish an edited source from another one of the same name

An image generated without a source has zeros for both. An aligned image has `starcast aligned settings=…`: unlike a
translation, it is a source for `translate`.

Marks of earlier versions have `source=` instead: a hash of the source's size and its first and last 64 KiB. Such a
translation is accepted if those are equal, because users have folders of them. It cannot be known whether the middle of
its source was edited since.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

_EDGE = 2**16
_DIGITS = 16
_SYNTAX = re.compile(
    r"starcast (?P<kind>aligned )?settings=(?P<settings>[0-9a-f]{16})"
    r" (?:content=(?P<content>[0-9a-f]{32}) place=(?P<place>[0-9a-f]{16})|source=(?P<edges>[0-9a-f]{16}))"
)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a mark says. Either `content` and `place` are set, or `edges`, the `source=` of an earlier version."""

    settings: str
    content: str = ""
    place: str = ""
    edges: str = ""
    is_aligned: bool = False

    @property
    def text(self) -> str:
        """The mark as a line of ASCII."""
        origin = f"source={self.edges}" if self.edges else f"content={self.content} place={self.place}"
        return f"starcast {'aligned ' if self.is_aligned else ''}settings={self.settings} {origin}"


def generated_mark(settings: str) -> Mark:
    """The mark of an image that was made without a source."""
    return Mark(settings=settings, content="0" * 32, place="0" * 16)


def parse_mark(text: str | None) -> Mark | None:
    """The mark in a text; None if it is not one of ours."""
    match = _SYNTAX.fullmatch((text or "").strip())
    if match is None:
        return None
    parts = {name: value or "" for name, value in match.groupdict().items()}
    return Mark(is_aligned=bool(parts.pop("kind")), **parts)


class Origin:
    """A source, or several that one file shows, for comparison with marks. Each hash is computed once, when it is first
    asked for. Several sources have a hash of their hashes. `named`: the paths that the user gave, where these name
    several files, as a pattern does; so a sequence that grew is the same source, edited."""

    def __init__(self, *paths: Path, named: Sequence[Path] = ()) -> None:
        self._paths, self._named = paths, tuple(named) or paths

    @cached_property
    def content(self) -> str:
        """The `content` of the source's marks; "" if it cannot be read."""
        return self._hash(hash_content)

    @cached_property
    def place(self) -> str:
        """The `place` of the source's marks."""
        return _join_hashes([hash_place(path) for path in self._named])

    @cached_property
    def edges(self) -> str:
        """The `edges` of the source's marks; "" if it cannot be read."""
        return self._hash(hash_edges)

    def _hash(self, function: Callable[[Path], str]) -> str:
        try:
            hashes = [function(path) if path.is_file() else "" for path in self._paths]
        except OSError:
            return ""
        return _join_hashes(hashes) if all(hashes) else ""

    def matches(self, mark: Mark) -> bool:
        """Whether a translation with this mark was made from the source as it is now."""
        if mark.edges:
            return self.edges == mark.edges
        return self.content == mark.content

    def was_edited_since(self, mark: Mark) -> bool:
        """Whether a translation with this mark was made from the file at the source's path, with another content."""
        return bool(self.content) and mark.place == self.place and mark.content != self.content


def _join_hashes(hashes: Sequence[str]) -> str:
    """One hash for several, of the same length; a single one stays as it is."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.blake2b(" ".join(hashes).encode(), digest_size=len(hashes[0]) // 2).hexdigest()


def hash_content(path: Path) -> str:
    """A hash of every byte of a file, 32 hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def hash_place(path: Path) -> str:
    """A hash of an absolute path, 16 hexadecimal digits; links are not followed."""
    absolute = os.path.normcase(os.path.abspath(path))  # noqa: PTH100  Path.absolute keeps `..`
    return hashlib.blake2b(os.fsencode(absolute), digest_size=_DIGITS // 2).hexdigest()


def hash_edges(path: Path) -> str:
    """A hash of a file's size and its first and last 64 KiB, 16 hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        digest = hashlib.sha256(f"{size}:".encode() + file.read(_EDGE))
        file.seek(max(0, size - _EDGE))
        digest.update(file.read(_EDGE))
    return digest.hexdigest()[:_DIGITS]
