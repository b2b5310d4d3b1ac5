"""Who may talk to the server: whoever knows the token, under one of the names that the server was given.

A server on loopback needs this as much as one on a network: any web page that the user has open can send requests to
127.0.0.1, and a name of the attacker's can be made to lead there (DNS rebinding). So each request and each socket must
name a host that is served (Host), must not come from another page (Origin, Sec-Fetch-Site), and must show the token:
as `Authorization: Bearer`, or as the cookie that the page's first address sets.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starcast.errors import printable
from starcast.runtime.serve.limits import Limits

PAGE = "/"
_SAFE = ("GET", "HEAD")
_LONGEST_LINE = 200  # of the log

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), fullscreen=(self), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """The token, and the names under which the server is reached. `hosts`: as in the Host header, in lower case, with
    the port unless it is the scheme's own."""

    scheme: str
    hosts: frozenset[str]
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name. Cookies do not tell ports apart, so several servers on one machine need several names."""
        return f"{'__Host-' if self.scheme == 'https' else ''}starcast-{self.port}"

    @property
    def set_cookie(self) -> str:
        """The header's value that gives the token to the browser."""
        secure = "; Secure" if self.scheme == "https" else ""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def knows(self, token: str | None) -> bool:
        """Whether this is the token, in a time that does not depend on where they differ."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered. `sentence` is for the client."""

    status: HTTPStatus
    sentence: str


def refusal_of(access: Access, scope: Scope, limits: Limits) -> Refusal | None:
    """Why a request or socket is refused before any of it is read; None if it may pass."""
    headers, is_socket = Headers(scope=scope), scope["type"] == "websocket"
    method = "GET" if is_socket else scope["method"]
    hosts = headers.getlist("host")
    if len(hosts) != 1 or hosts[0].lower() not in access.hosts:
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "This host is not served here; use the printed address.")
    origins = headers.getlist("origin")
    if any(origin.lower() not in {f"{access.scheme}://{host}" for host in access.hosts} for origin in origins):
        return Refusal(HTTPStatus.FORBIDDEN, "Requests from other pages are refused.")
    is_navigation = method == "GET" and not is_socket and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_navigation:
        return Refusal(HTTPStatus.FORBIDDEN, "Requests from other pages are refused.")
    if not access.knows(_bearer(headers)):
        if not access.knows(_cookies(headers).get(access.cookie)):
            return Refusal(
                HTTPStatus.UNAUTHORIZED,
                "The token is missing or wrong; open the printed address, or send it as Authorization: Bearer TOKEN.",
            )
        if not origins and (is_socket or method not in _SAFE):  # a browser always sends it with these
            return Refusal(HTTPStatus.FORBIDDEN, "A request with a cookie needs an Origin.")
    if _length(headers) > limits.upload_bytes:
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limits))
    return None


class Guard:
    """The outermost part of the server. `log` gets a line for each refusal."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, log: Callable[[str], None]) -> None:
        self._app, self._access, self._limits, self._log = app, access, limits, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or socket, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = refusal_of(self._access, scope, self._limits)
        if (refusal is None or refusal.status == HTTPStatus.UNAUTHORIZED) and self._is_first_address(scope):
            await _answer(send, HTTPStatus.SEE_OTHER, "", {"location": PAGE, "set-cookie": self._access.set_cookie})
        elif refusal is None:
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._app(scope, self._bounded(receive), _with_headers(send, SECURITY_HEADERS))
        else:
            self._log(refused(scope, refusal.status, refusal.sentence))
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence})
            else:
                await _answer(send, refusal.status, refusal.sentence)

    def _is_first_address(self, scope: Scope) -> bool:
        """Whether this is the page's first address, which holds the token. It leaves the browser's history again."""
        if scope["type"] != "http" or scope["path"] != PAGE:
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])
        return scope["method"] in _SAFE and len(given) == 1 and self._access.knows(given[0])

    def _bounded(self, receive: Receive) -> Receive:
        """`receive`, which raises HTTPException for a body that is too large or too slow."""
        limits, loop = self._limits, asyncio.get_running_loop()
        end, received, is_whole = loop.time() + limits.body_s, 0, False

        async def receive_part() -> Message:
            nonlocal received, is_whole
            if is_whole:
                return await receive()  # that the client has gone, whenever that is
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - loop.time()))
            except TimeoutError:
                raise _failure(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly.") from None
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > limits.upload_bytes:
                raise _failure(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limits))
            return message

        return receive_part


def _failure(status: HTTPStatus, sentence: str) -> HTTPException:
    return HTTPException(status, sentence, {"connection": "close"})


def refused(scope: Scope, status: int, sentence: str) -> str:
    """The operator's line for a request that is not answered as its sender wished."""
    client = (scope.get("client") or ("?",))[0]
    what = printable(f"{scope.get('method', 'socket')} {scope['path']}")
    return f"refused {what[:_LONGEST_LINE]} from {client} ({status}): {printable(sentence)[:_LONGEST_LINE]}"


def address(access: Access, host: str) -> str:
    """The page's first address, with the token, under one of the hosts."""
    return f"{access.scheme}://{host}{PAGE}?{urlencode({'token': access.token})}"


def hosts_of(names: Collection[str], port: int, scheme: str) -> frozenset[str]:
    """Host headers for names or addresses (IPv6 in brackets) at a port."""
    usual = {"http": 80, "https": 443}[scheme]
    ends = (f":{port}", "") if port == usual else (f":{port}",)
    return frozenset(name.lower() + end for name in names for end in ends)


def _bearer(headers: Headers) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _cookies(headers: Headers) -> Mapping[str, str]:
    return cookie_parser("; ".join(headers.getlist("cookie")))


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large(limits: Limits) -> str:
    return f"The request is larger than {limits.upload_bytes // 2**20} MiB."


def _with_headers(send: Send, more: Mapping[str, str]) -> Send:
    """`send` that adds headers to an answer, except those that it has."""

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", ())}
            added = [(name.encode(), value.encode()) for name, value in more.items() if name.encode() not in there]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_more


async def _answer(send: Send, status: HTTPStatus, sentence: str, more: Mapping[str, str] | None = None) -> None:
    """An answer to a request whose body is not read."""
    body = json.dumps({"error": sentence}).encode() if sentence else b""
    headers: dict[str, Any] = {
        **SECURITY_HEADERS, "content-type": "application/json", "content-length": str(len(body)), "connection": "close",
        **(more or {}),
    }  # fmt: skip
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    await send({
        "type": "http.response.start", "status": status.value,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": body})
