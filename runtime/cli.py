"""The commands of the runtime: parse, call one function, print, exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.options import options_from
from starcast.runtime.translate_options import TranslateOptions


@click.command("translate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@options_from(TranslateOptions)
def translate(bundle: Path, sources: tuple[Path, ...], **values: Any) -> int:
    """Translate pictures and folders.

    A SOURCE is a picture, a folder (searched with its subfolders), a pattern in quotes ('photos/*.jpg'), or a list
    (.txt, a path a line, relative to the list). A folder's layout is kept below OUT; with several styles (--domain
    all, a folder of references) each style has a folder of its own there. A second start leaves out what is done.
    OUT/starcast.json says what the translations were made with.

    \b
    Examples: starcast translate my-model photos/ -o out/ --domain dog --seed 7
              starcast translate my-model cat.jpg -o out.png --domain dog --ref rex.jpg
    """
    from starcast.runtime.folders import translate_all

    report = translate_all(
        bundle, sources, TranslateOptions(**values), say=lambda line: click.echo(line, err=True), show_progress=True
    )
    click.echo(report.summary())
    return 1 if report.failed else 0
