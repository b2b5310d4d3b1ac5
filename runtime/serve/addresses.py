"""Where the server listens, and the names under which it is reached."""

from __future__ import annotations

import errno
import socket

from starcast.errors import OptionError, printable, reason_of
from starcast.runtime.serve.options import LOOPBACK, PORT

_TRIED_PORTS = 20
EVERYWHERE = ("0.0.0.0", "::")


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
    """The names under which a server that listens on `host` is reached, the one to print first."""
    loopback = (LOOPBACK, "localhost", "[::1]")
    if is_loopback(host):
        return (_bracketed(host), *(name for name in loopback if name != host))
    if host not in EVERYWHERE:
        return (_bracketed(host),)
    own = _own_address()
    name = socket.gethostname().lower()
    return (*([own] if own else []), name, *([] if "." in name else [f"{name}.local"]), *loopback)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to that address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _own_address() -> str | None:
    """This machine's address in its network: that of a packet that would leave it; none is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address
