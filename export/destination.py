"""Where a bundle may be written: a new folder, an empty one, or an old bundle without foreign files."""

from __future__ import annotations

import json
from pathlib import Path

from starcast.atomic import repair_folder
from starcast.errors import BundleError
from starcast.runtime.manifest import MANIFEST

LEFT_BY_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}
SHOWN = 3


def writable_target(bundle: Path) -> Path:
    """The folder to write, links followed. Raises BundleError if that would delete files that are not a bundle's."""
    target = Path(bundle).resolve()
    repair_folder(target)
    if not target.exists():
        return target
    if not target.is_dir():
        raise BundleError(f"{bundle} is a file: give a folder for the bundle")
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    own = _listed_files(target / MANIFEST)
    foreign = sorted(name for name in present - own if Path(name).name not in LEFT_BY_THE_SYSTEM)
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        what = "a bundle with files that are not its own" if own else "a folder that is not a bundle"
        raise BundleError(
            f"{bundle} is {what} ({', '.join(foreign[:SHOWN])}{more}), which would be lost: give another folder, or "
            "move them away"
        )
    return target


def _listed_files(manifest: Path) -> set[str]:
    """The files that an old bundle's manifest names, itself included; empty if it is not a bundle's manifest.

    Read without its types, so that a bundle of another format, or a damaged one, can be replaced too.
    """
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return set()
    if not isinstance(content, dict) or not {"format", "variants", "files"} <= content.keys():
        return set()
    return {MANIFEST, *content["files"]} if isinstance(content["files"], dict) else set()
