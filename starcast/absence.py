"""Why nothing is found at a path: it is missing, a link that leads nowhere, or a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.IGNORECASE)  # a path keeps one of the slashes; a drive has one letter


def absence_of(path: Path) -> str:
    """What a path that does not exist is, and what to do, as a clause: `does not exist: check the path`."""
    if is_url(path):
        return "is a URL, and only files on this machine are opened: download it, and give the file"
    try:
        dangling = path.is_symlink()
    except (OSError, ValueError):  # the name is too long, or has a null character
        dangling = False
    return f"{'is a link that leads nowhere' if dangling else 'does not exist'}: check the path"


def is_url(path: Path | str) -> bool:
    """Whether a path is a URL, as written or with its slashes collapsed."""
    return _URL.match(str(path)) is not None


def local_path(url: Path | str) -> Path | None:
    """The path in a `file:` URL (`file:///home/me/a%20b.png`); None if it is not one."""
    match = re.match(r"file:/+(?:localhost/+)?", str(url), re.IGNORECASE)
    if match is None:
        return None
    place = unquote(str(url)[match.end() :], errors="surrogateescape")
    return Path(place if os.name == "nt" else f"/{place}")
