"""The options of `serve`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import option
from starcast.runtime.options import EngineChoice

LOOPBACK = "127.0.0.1"
PORT = 8000


@dataclass(frozen=True, kw_only=True)
class ServeOptions(EngineChoice):
    """Where and how `serve_bundle` serves."""

    host: str = option(LOOPBACK, "Address to listen on. By default only this machine can connect.", metavar="ADDRESS")
    port: int | None = option(
        None, f"Port to listen on; 0 takes any free one. Default: {PORT}, or the next free one.", minimum=0,
        maximum=65535,
    )  # fmt: skip
    browser: bool = option(True, "Open the page in the browser.")
