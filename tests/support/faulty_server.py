"""A web server on this machine that serves one file, and fails in the ways that servers and networks do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PAGE = b"<!DOCTYPE html>\n<html><head><title>Dropbox &amp; Co: this link is gone</title></head></html>"


@dataclass
class Server:
    """What the server does. `cuts`: bytes after which each of the next answers breaks off. `asked`: the Range of every
    request for the file."""

    content: bytes = b""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the next answers, before the file is served
    ranges: bool = True  # whether it can continue
    validator: bool = True
    conditions: bool = True  # whether it heeds If-Range
    slow_s: float = 0.0  # between chunks
    stall_s: float = 0.0  # before an answer
    page: bool = False
    asked: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file?dl=1"

    @property
    def redirected(self) -> str:
        return f"http://127.0.0.1:{self.port}/elsewhere?dl=1"

    @property
    def circle(self) -> str:
        return f"http://127.0.0.1:{self.port}/circle"


@contextmanager
def serve(server: Server) -> Iterator[Server]:
    """Serve while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.startswith(("/elsewhere", "/circle")):
                target = "/file?dl=1" if self.path.startswith("/elsewhere") else "/circle"
                self.send_response(302)
                self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            server.asked.append(self.headers.get("Range"))
            time.sleep(server.stall_s)
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            self._send_page() if server.page else self._send_file()

        def _send_page(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def _send_file(self) -> None:
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranges else None
            tag = f'"{hash(server.content)}"'
            if asked and server.conditions and self.headers.get("If-Range") not in (None, tag):
                asked = None
            start, total = int(asked[1]) if asked else 0, len(server.content)
            if start >= total > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if server.validator:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(total - start))
            self.end_headers()
            rest = server.content[start:]
            if server.cuts:
                rest = rest[: server.cuts.pop(0)]
            for place in range(0, len(rest), 4096):
                self.wfile.write(rest[place : place + 4096])
                self.wfile.flush()
                time.sleep(server.slow_s)
            self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.port = http.server_port
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
