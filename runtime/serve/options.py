"""The options of `serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import option
from starcast.runtime.options import EngineChoice

LOOPBACK = "127.0.0.1"
PORT = 8000


@dataclass(frozen=True, kw_only=True)
class ServeOptions(EngineChoice):
    """Where and how `serve_bundle` serves."""

    host: str = option(
        LOOPBACK, "Address to listen on; 0.0.0.0: every address of this machine. Others are served over HTTPS.",
        metavar="ADDRESS",
    )  # fmt: skip
    port: int | None = option(
        None, f"Port to listen on; 0 takes any free one. Default: {PORT}, or the next free one.", minimum=0,
        maximum=65535,
    )  # fmt: skip
    allow_host: tuple[str, ...] = option((), "Further names under which the server is reached.", metavar="NAME,…")
    cert: Path | None = option(
        None, "Certificate for HTTPS, as PEM. Default for other machines: one made for this run.",
        metavar="FILE",
    )  # fmt: skip
    key: Path | None = option(None, "Key of the certificate, as PEM, if it is in a file of its own.", metavar="FILE")
    browser: bool = option(True, "Open the page in the browser.")
