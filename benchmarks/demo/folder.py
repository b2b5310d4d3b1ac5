"""The demo's folder: claimed before anything is written, so that nothing of the user's is overwritten or deleted."""

from __future__ import annotations

import json
from pathlib import Path

from starcast import __version__
from starcast.atomic import write_text
from starcast.errors import OptionError, printable
from starcast.leftovers import LOCK, PARTIAL, discard

MARK = "demo.json"  # in every folder that a demo has written into
PARTS = ("data", "run", "bundle", "translations")  # what an earlier demo left, and --fresh deletes


def claim(out: Path) -> None:
    """Mark a folder as the demo's. Raises OptionError if it holds anything and no demo has marked it."""
    if out.exists() and not out.is_dir():
        raise OptionError(f"{printable(out)} is a file: choose another -o for the demo's folder")
    if _is_marked(out):
        return
    if out.is_dir() and any(not path.name.startswith((LOCK, PARTIAL)) for path in out.iterdir()):
        raise OptionError(
            f"{printable(out)} holds files that no demo has written, and a demo might replace them: choose a new folder"
        )
    write_text(out / MARK, json.dumps({"made by": "starcast demo", "version": __version__}) + "\n")


def start_over(out: Path) -> None:
    """Delete what an earlier demo left in its folder. Raises OSError."""
    for part in PARTS:
        if (out / part).is_symlink():
            (out / part).unlink()
        elif (out / part).is_dir():
            discard(out / part)


def _is_marked(out: Path) -> bool:
    try:
        mark = json.loads((out / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(mark, dict) and mark.get("made by") == "starcast demo"
