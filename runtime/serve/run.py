"""`starcast serve`: open a bundle, and answer until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import socket
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from starcast.errors import OptionError, printable, reason_of
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.live.model import LiveModel
from starcast.runtime.serve.app import build_app
from starcast.runtime.serve.guard import Access, address, hosts_of
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.options import LOOPBACK, PORT, ServeOptions
from starcast.runtime.serve.patience import impatient
from starcast.runtime.serve.references import References
from starcast.runtime.serve.service import Service
from starcast.runtime.serve.untrusted.decode import decoder
from starcast.runtime.translator import Translator

_TRIED_PORTS = 20
_END_S = 2  # for answers that are under way, once the server stops


@dataclass(frozen=True)
class ServeReport:
    """What `serve_bundle` did."""

    failed: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line."""
        return "Stopped."


def serve_bundle(
    bundle_path: Path,
    options: ServeOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
    limits: Limits | None = None,
) -> ServeReport:
    """Serve a bundle until Ctrl-C is pressed.

    Raises OptionError, BundleError, EngineError, MissingExtraError.
    """
    del show_progress  # a server has no end that a bar could lead to
    limits = limits or Limits()
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(listen(options.host, options.port))
        port = listening.getsockname()[1]
        access = Access("http", hosts_of(names_of(options.host), port, "http"), port)
        service = stack.enter_context(open_service(bundle, limits, progress, **options.engine))
        server = uvicorn.Server(configuration(build_app(service, access), service))
        url = address(access, f"{_bracketed(options.host)}:{port}")
        progress(f"Open {url}")
        if options.browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    return ServeReport()


@contextlib.contextmanager
def open_service(bundle: Bundle, limits: Limits, log: Callable[[str], None], **engine: Any) -> Iterator[Service]:
    """A bundle, opened for all clients with the options of a Translator. Raises what the translator raises."""
    with Translator(bundle, progress=log, **engine) as translator:
        _warm_up(translator)
        with LiveModel(translator) as model:
            references = References(bundle.manifest.condition.reference)
            yield Service(bundle, translator, model, limits, references, decoder(limits.pixels), log)


def configuration(app: Any, service: Service) -> uvicorn.Config:
    """How uvicorn runs the application: without its own log, headers, or trust in proxies."""
    limits = service.limits
    return uvicorn.Config(
        app, http=impatient(limits.header_s, service.log), ws="websockets-sansio", lifespan="off", log_config=None,
        log_level="critical", access_log=False,
        proxy_headers=False, server_header=False, ws_max_size=limits.message_bytes, ws_max_queue=4,
        ws_per_message_deflate=False, limit_concurrency=limits.connections, timeout_keep_alive=30,
        timeout_graceful_shutdown=_END_S,
    )  # fmt: skip


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens at an address; without a port, at the usual or next free one. Raises OptionError."""
    tried = range(PORT, PORT + _TRIED_PORTS) if port is None else [port]
    for number in tried:
        try:
            family, _, _, _, where = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            return socket.create_server(where[:2], family=family, backlog=128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and number != tried[-1]:
                continue
            raise OptionError(
                f"{printable(host)}:{number} cannot be listened on ({reason_of(error)}): give another --host or --port"
            ) from error
    raise AssertionError("a port was tried")


def names_of(host: str) -> tuple[str, ...]:
    """The names under which a server that listens on `host` is reached."""
    return (_bracketed(host), LOOPBACK, "localhost", "[::1]") if is_loopback(host) else (_bracketed(host),)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to that address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _warm_up(translator: Translator) -> None:
    """Compile, before somebody waits for it."""
    if translator.bundle.manifest.condition.labels is None:
        style = translator.mean_style(0 if translator.domains else None)
    else:
        style = np.zeros(translator.bundle.manifest.condition.size, np.float32)
    translator(np.zeros((*translator.size, 3), np.uint8), style)
