"""`-o -`: a film to standard output. It goes through a temporary file: all of it is written, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from starcast.errors import OptionError, printable
from starcast.leftovers import temporary_folder
from starcast.runtime.folder.standard_streams import STDOUT, is_terminal, naming, own_stdout
from starcast.runtime.video.report import FilmReport

_USUAL = "mkv"
_CHUNK = 2**20


def render_to_standard_output(
    render: Callable[..., FilmReport],
    container: str | None,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """`render(target, progress=, show_progress=)`, whose film goes to standard output. Raises what that does,
    OptionError for a terminal, and BrokenPipeError."""
    if is_terminal(1):
        raise OptionError(
            "standard output is a terminal, and -o - writes a video to it: redirect it, or give -o a file"
        )
    with own_stdout() as stdout, temporary_folder() as folder:
        target = folder / f"film.{container or _USUAL}"
        with naming({printable(target): STDOUT}) as name:
            report = render(target, progress=lambda line: progress(name(line)), show_progress=show_progress)
        report.notes, report.failed = list(map(name, report.notes)), list(map(name, report.failed))
        report.target = Path(STDOUT)
        with target.open("rb") as file, open(stdout, "wb", closefd=False) as out:
            shutil.copyfileobj(file, out, _CHUNK)
    return report
