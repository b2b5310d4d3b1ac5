"""A list of sources: a text file with a path on each line, as people write and paste it.

    me.jpg              relative to the list
    "holiday/b 1.jpg"   quoted or escaped, as file managers and shells copy it
    ~/c.jpg             in the home folder
    file:///d%201.jpg   a URL of a file on this machine
    # my best           a comment, and so is a blank line

A line is read in these ways only if no file has it as its literal name: `#1 best.jpg` is a file if there is one.
UTF-8 is expected; UTF-16, which Windows PowerShell writes, is recognised.
"""

from __future__ import annotations

import codecs
import os
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from starcast.absence import is_url, local_path

LIST_SUFFIX = ".txt"
LIST_BYTES = 64 * 2**20  # half a million long paths; a larger file is not a list


def read_list(path: Path) -> list[Path]:
    """The paths in a list, without comments, each in the first reading that exists, else in the likeliest.

    Raises OSError, and ValueError if the file is not text.
    """
    if path.stat().st_size > LIST_BYTES:
        raise OSError(f"more than {LIST_BYTES} bytes")
    lines = _decode(path.read_bytes()).split("\n")
    if any("\0" in line for line in lines):
        raise ValueError("not text")
    entries = (_meant(line.removesuffix("\r"), path.parent) for line in lines)
    return [entry for entry in entries if entry is not None]


def _decode(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if content[1:2] == b"\0" != content[:1]:  # an ASCII letter of UTF-16 without its mark
        return content.decode("utf-16-le", errors="replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")


def _meant(line: str, folder: Path) -> Path | None:
    """The path that a line means; None if it is blank or a comment."""
    text = line.strip()
    if not text:
        return None
    for reading in _readings(line):
        if exists(folder / reading):
            return folder / reading
    if text.startswith("#"):
        return None
    if is_url(text):
        return local_path(text) or Path(text)
    return folder / _unquote(text)


def _readings(line: str) -> Iterator[str]:
    """What a line may mean, the most literal first."""
    text = line.strip()
    yield from dict.fromkeys((line, text, line.rstrip(), line.lstrip()))
    unquoted = _unquote(text)
    for reading in dict.fromkeys((text, unquoted)):
        yield reading
        if reading.startswith("~"):
            yield str(home_path(Path(reading)))
        url = local_path(reading)
        if url is not None:
            yield str(url)
        if os.name != "nt":
            yield from _shell_words(reading)
            yield reading.replace("\\", "/")
        yield unicodedata.normalize("NFC", reading)
        yield unicodedata.normalize("NFD", reading)
        # bytes that are not UTF-8: a list of a Western Windows program
        yield os.fsencode(reading).decode("cp1252", errors="replace") if os.name != "nt" else reading


def _unquote(text: str) -> str:
    """The text without one pair of quotes around it."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" else text


def _shell_words(text: str) -> list[str]:
    """The word that a shell reads; nothing if it reads several."""
    try:
        words = shlex.split(text)
    except ValueError:  # an open quote
        return []
    return words if len(words) == 1 else []


def home_path(path: Path) -> Path:
    """The path with `~` replaced, where that can be done."""
    try:
        return path.expanduser()
    except RuntimeError:  # a user that does not exist
        return path


def exists(path: Path) -> bool:
    """Whether anything has this name, if only a link that leads nowhere."""
    try:
        return os.path.lexists(path)
    except ValueError:  # a null character
        return False
