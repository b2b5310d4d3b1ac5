"""The command `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.click_options import GroupedCommand, options_from
from starcast.path_types import LocalPath
from starcast.runtime.cli import run
from starcast.runtime.serve.options import ServeOptions

HEADINGS = {
    "Server": ("host", "port", "allow_host", "cert", "key", "browser"),
    "Engine": ("backend", "precision", "threads", "memory", "remeasure"),
}


@click.command("serve", cls=GroupedCommand, headings=HEADINGS)
@click.argument("bundle", type=LocalPath())
@options_from(ServeOptions)
def serve(bundle: Path, **values: Any) -> int:
    """Serve a bundle: a page in the browser, and an HTTP API.

    The address that is printed holds a token, without which nothing is answered. Without --host, only this machine can
    connect. Ctrl-C ends.

    \b
    Examples: starcast serve my-model
              starcast serve my-model --port 9000 --no-browser
              starcast serve my-model --host 0.0.0.0
    """
    from starcast.runtime.serve.run import serve_bundle

    return run(serve_bundle, bundle, ServeOptions(**values))
