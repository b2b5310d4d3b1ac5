"""An interrupted `--overwrite` of many films goes on: films that it has made again are not made a third time.

A hidden file in the films' folder says which command began, and when, until that command has ended. It is not the
record of a folder: that would make translations of all images that the folder holds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.atomic import write_text
from starcast.runtime.encoding import image_at
from starcast.runtime.folder.places import modified_ns
from starcast.runtime.record import fingerprint, now_in, run_facts, unwritable

if TYPE_CHECKING:
    from starcast.runtime.video.many.many_films import Task

FILE = ".starcast-overwrite"


@contextmanager
def overwriting(folder: Path, tasks: Sequence[Task], named: Sequence[str]) -> Iterator[int | None]:
    """When the command began that makes films again, in ns since 1970 by the clock of `folder`; the start of the
    interrupted one, if it was the same. None for a command without --overwrite. `named`: what it makes films of.

    Raises OptionError if the folder cannot be written to.
    """
    looks = {id(task.look): task for task in tasks}.values()
    if not any(task.look.options.overwrite and not task.look.options.preview for task in looks):
        yield None
        return
    facts = [run_facts(task.bundle, task.look.options, task.look.facts, named) for task in looks]
    command, path = fingerprint({"films": facts}), folder / FILE
    is_anew = any(task.look.options.restart for task in looks)
    began_ns = None if is_anew else _began_ns(path, command)
    if began_ns is None:
        try:
            began_ns = now_in(folder)
            write_text(path, json.dumps({"command": command, "began_ns": began_ns}))
        except OSError as error:
            raise unwritable(folder, error) from error
    has_ended = False
    try:
        yield began_ns
        has_ended = True
    finally:
        if has_ended or not any(modified_ns(image_at(task.target, 1)) >= began_ns for task in tasks):
            with contextlib.suppress(OSError):
                path.unlink()


def _began_ns(path: Path, command: str) -> int | None:
    """When a command that was interrupted began; None if it was another one."""
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("command") != command:
        return None
    began_ns = content.get("began_ns")
    return began_ns if isinstance(began_ns, int) else None
