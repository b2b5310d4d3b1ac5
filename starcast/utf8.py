"""Names that are not UTF-8, for those who take nothing else: libraries, JSON, and what people read.

Python holds each byte of such a name that is not UTF-8 as a lone surrogate, which no encoder takes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from starcast.errors import OptionError, printable, reason_of
from starcast.leftovers import temporary_folder


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape(value: Any) -> Any:
    """A JSON value whose texts UTF-8 can hold: what it cannot stands there escaped, `caf\\udce9`."""
    if isinstance(value, str):
        return value if is_utf8(value) else value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {escape(key): escape(part) for key, part in value.items()}
    return type(value)(escape(part) for part in value) if isinstance(value, list | tuple) else value


def json_text(value: Any) -> str:
    """A value as indented JSON that standard output can hold and that reads back as it was.

    Letters beyond ASCII are escaped where the terminal's encoding is not UTF-8, and surrogates always.
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("_", "-")
    text = json.dumps(value, indent=2, ensure_ascii=encoding not in ("utf-8", "utf8"))
    return text if is_utf8(text) else text.encode(errors="backslashreplace").decode()  # \udce9 is JSON's escape, too


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """A path to the same file or folder that is UTF-8: itself, or for the block through a link in the temporary folder.

    The files beside it can be reached from there, too. Raises OptionError where no link can be made.
    """
    if is_utf8(str(path)):
        yield path
        return
    with ExitStack() as until_the_end:
        try:
            folder = until_the_end.enter_context(temporary_folder())
            if not is_utf8(str(folder)):
                raise NotImplementedError("the temporary folder has such a name, too")
            linked = _link_to(Path(os.path.realpath(path)), folder)
        except (OSError, NotImplementedError) as error:
            raise OptionError(
                f"{printable(path)} has a name that is not UTF-8, and no link to it can be made ({reason_of(error)}): "
                "rename it"
            ) from error
        yield linked


def _link_to(path: Path, folder: Path) -> Path:
    """A link in `folder` to the folder of `path`, and there to it; to itself, if its own name is the trouble."""
    if is_utf8(path.name):
        (folder / "link").symlink_to(path.parent, target_is_directory=True)
        return folder / "link" / path.name
    link = folder / f"link{escape(path.suffix)}"
    link.symlink_to(path, target_is_directory=path.is_dir())
    return link
