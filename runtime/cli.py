"""The runtime's commands: each parses its options, calls one function, prints, and sets the exit status."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from
from starcast.path_types import LocalPath, SourcePath, Standard
from starcast.runtime.memory import limit_memory
from starcast.runtime.options import TranslateOptions


@click.command("translate")
@click.argument("bundle", type=LocalPath())
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True, type=SourcePath())
@options_from(TranslateOptions)
def translate(bundle: Path, sources: tuple[Path | Standard, ...], **values: Any) -> int:
    """Translate images and folders of images.

    A SOURCE is an image, a folder (searched with its subfolders), a pattern in quotes ('photos/*.jpg'), a list (.txt,
    one path per line, relative to the list), or - for standard input. OUT keeps the layout of the folders. With several
    styles (--domain all, a folder of references) each style gets its own folder in OUT. Run the command again to
    resume: finished translations are skipped. OUT/starcast.json records how they were made.

    StarGAN v1 bundles take labels instead of styles: --set, --unset and --flip change the source's labels, and
    --labels gives all labels of the translation.

    \b
    Examples: starcast translate my-model photos/ -o out/ --domain dog --seed 7
              starcast translate my-model cat.jpg -o out.png --domain dog --ref rex.jpg
              starcast translate faces me.jpg -o out.png --set Blond_Hair --unset Young
              starcast translate my-model - -o - --domain dog < cat.jpg > out.png
    """
    if Standard.STREAM in (*sources, values["output"]):
        from starcast.runtime.folder.standard_streams import run_piped
        from starcast.runtime.folder.translate import translate_all

        return run(run_piped, partial(translate_all, bundle), sources, values, TranslateOptions, to_stderr=True)
    from starcast.runtime.folder.translate import translate_all

    return run(translate_all, bundle, sources, TranslateOptions(**values))


@click.command("doctor")
def doctor() -> None:
    """Show the engines and devices of this machine, and how to install missing ones.

    Every device of every installed engine is tried with a tiny graph. Add the output to a bug report.
    """
    from starcast.runtime.doctor import examine, render_text

    click.echo(render_text(examine()))


def run(function: Callable[..., Any], *arguments: Any, to_stderr: bool = False) -> int:
    """Call a function that returns a report, print its summary, and return the exit status: 1 if anything failed."""
    with limit_memory():
        report = function(*arguments, progress=lambda line: click.echo(line, err=True), show_progress=True)
    click.echo(report.summary(), err=to_stderr)
    return 1 if report.failed else 0
