"""A server in a thread, which can come back at the same address with the same token."""

from __future__ import annotations

import socket
import threading

import uvicorn

from starcast.runtime.serve.addresses import listen
from starcast.runtime.serve.app import build_app
from starcast.runtime.serve.guard import Access, address, hosts_of
from starcast.runtime.serve.https import Certificate
from starcast.runtime.serve.run import configuration
from starcast.runtime.serve.service import Service


class ServerInThread:
    """Answers from its making to `stop`, and from `start` again. `log` is the service's."""

    def __init__(self, service: Service, certificate: Certificate | None = None) -> None:
        with listen("127.0.0.1", 0) as found:
            self.port: int = found.getsockname()[1]
        self._certificate, scheme = certificate, "http" if certificate is None else "https"
        self.access = Access(scheme, hosts_of(["127.0.0.1"], self.port, scheme), self.port)
        self.service = service
        self.start()

    def start(self) -> None:
        self._server = uvicorn.Server(
            configuration(build_app(self.service, self.access), self.service, self._certificate)
        )
        self._socket: socket.socket = listen("127.0.0.1", self.port)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def address(self) -> str:
        return address(self.access, f"127.0.0.1:{self.port}")

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)
