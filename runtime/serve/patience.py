"""Connections that never say what they want are closed, and requests that are no HTTP are noted.

uvicorn waits for ever for a request's first lines; a few hundred connections that send a letter per minute would keep
everybody else out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from starcast.errors import printable


def impatient(header_s: float, log: Callable[[str], None]) -> type[H11Protocol]:
    """uvicorn's HTTP, which closes a connection that has not sent a whole request's head within `header_s`. `log` gets
    a line for each, and for each request that cannot be read."""

    class Impatient(H11Protocol):
        _alarm: asyncio.TimerHandle | None = None
        _is_silent = True

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._alarm = self.loop.call_later(header_s, self._give_up)

        def data_received(self, data: bytes) -> None:
            self._is_silent = False
            super().data_received(data)
            waits = self.conn.their_state is h11.IDLE and self.transport.get_protocol() is self
            if not waits:
                self._calm()
            elif self._alarm is None:
                self._alarm = self.loop.call_later(header_s, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            self._calm()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            log(f"refused a request from {self._sender} (400): it is no HTTP")
            super().send_400_response(msg)

        def _give_up(self) -> None:
            self._alarm = None
            if not self.transport.is_closing():
                if not self._is_silent:  # browsers open connections that they do not use
                    log(f"closed a connection of {self._sender}: it sent no whole request")
                self.transport.close()

        def _calm(self) -> None:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

        @property
        def _sender(self) -> str:
            return printable((self.client or ("?",))[0])

    return Impatient
