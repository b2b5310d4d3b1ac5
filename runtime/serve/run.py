"""`starcast serve`: open a bundle, and answer until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from starcast.errors import OptionError
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.live.model import LiveModel
from starcast.runtime.serve.addresses import is_loopback, listen, names_of
from starcast.runtime.serve.app import build_app
from starcast.runtime.serve.guard import Access, address, hosts_of
from starcast.runtime.serve.https import Certificate, check_certificate, self_signed
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.options import ServeOptions
from starcast.runtime.serve.patience import impatient
from starcast.runtime.serve.references import References
from starcast.runtime.serve.service import Service
from starcast.runtime.serve.untrusted.decode import Decoder
from starcast.runtime.translator import Translator

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
        port, names = listening.getsockname()[1], names_of(options.host)
        certificate = _certificate(options, names, stack)
        scheme = "http" if certificate is None else "https"
        access = Access(scheme, hosts_of([*names, *options.allow_host], port, scheme), port)
        service = stack.enter_context(open_service(bundle, limits, progress, **options.engine))
        server = uvicorn.Server(configuration(build_app(service, access), service, certificate))
        url = address(access, f"{names[0]}:{port}")
        _show(url, certificate, options, progress)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    return ServeReport()


@contextlib.contextmanager
def open_service(bundle: Bundle, limits: Limits, log: Callable[[str], None], **engine: Any) -> Iterator[Service]:
    """A bundle, opened for all clients with the options of a Translator. Raises what the translator raises."""
    with Translator(bundle, progress=log, **engine) as translator, Decoder(limits) as images:
        _warm_up(translator)
        with LiveModel(translator) as model:
            references = References(bundle.manifest.condition.reference)
            yield Service(bundle, translator, model, limits, references, images, log)


def configuration(app: Any, service: Service, certificate: Certificate | None = None) -> uvicorn.Config:
    """How uvicorn runs the application: without its own log, headers, or trust in proxies."""
    limits = service.limits
    return uvicorn.Config(
        app, http=impatient(limits.header_s, service.log), ws="websockets-sansio", lifespan="off", log_config=None,
        log_level="critical", access_log=False,
        proxy_headers=False, server_header=False, ws_max_size=limits.message_bytes, ws_max_queue=4,
        ws_per_message_deflate=False, limit_concurrency=limits.connections, timeout_keep_alive=30,
        timeout_graceful_shutdown=_END_S,
        ssl_certfile=None if certificate is None else certificate.certificate,
        ssl_keyfile=None if certificate is None else certificate.key,
    )  # fmt: skip


def _certificate(options: ServeOptions, names: Sequence[str], stack: contextlib.ExitStack) -> Certificate | None:
    """What encrypts: always for other machines, because browsers give a camera to no other pages."""
    if options.cert is not None:
        return check_certificate(options.cert, options.key)
    if options.key is not None:
        raise OptionError("--key belongs to a certificate: give --cert, too")
    if is_loopback(options.host):
        return None
    return stack.enter_context(self_signed([*names, *options.allow_host]))


def _show(url: str, certificate: Certificate | None, options: ServeOptions, progress: Callable[[str], None]) -> None:
    """Print the address; for other machines as a QR code, too."""
    progress(f"Open {url}")
    if not is_loopback(options.host):
        import segno

        drawn = StringIO()
        segno.make(url, error="l").terminal(drawn, compact=True)
        progress(drawn.getvalue())
    if certificate is not None and certificate.fingerprint is not None:
        progress(
            "The browser warns, because nobody signed the certificate. Its SHA-256 fingerprint must be "
            f"{certificate.fingerprint}"
        )
    if options.browser and _has_display():
        webbrowser.open(url)


def _has_display() -> bool:
    """Whether a browser has a screen; without one, Python would open a text browser in this terminal."""
    return sys.platform in ("win32", "darwin") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _warm_up(translator: Translator) -> None:
    """Compile, before somebody waits for it."""
    if translator.bundle.manifest.condition.labels is None:
        style = translator.mean_style(0 if translator.domains else None)
    else:
        style = np.zeros(translator.bundle.manifest.condition.size, np.float32)
    translator(np.zeros((*translator.size, 3), np.uint8), style)
