"""Who is answered: requests with the token, to a host that is served, from no other page."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from starcast.runtime.serve.guard import SECURITY_HEADERS, Access, Guard, hosts_of
from starcast.runtime.serve.limits import Limits

HOST, TOKEN = "127.0.0.1:8123", "right"
ACCESS = Access("http", hosts_of(["127.0.0.1", "localhost"], 8123, "http"), 8123, TOKEN)
BEARER = {"authorization": f"Bearer {TOKEN}"}
COOKIE = {"cookie": f"starcast-8123={TOKEN}"}
ORIGIN = {"origin": f"http://{HOST}"}


@pytest.fixture
def log() -> list[str]:
    """The operator's lines."""
    return []


@pytest.fixture
def client(log: list[str]) -> TestClient:
    """A client of an application that echoes bodies and messages, behind the guard."""

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{len(await request.body())} bytes")

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    app = Starlette(
        routes=[Route("/", echo), Route("/echo", echo, methods=["GET", "POST"]), WebSocketRoute("/talk", talk)]
    )
    guard = Guard(app, ACCESS, Limits(upload_bytes=1000), log.append)
    return TestClient(guard, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.mark.parametrize("headers", [BEARER, COOKIE, {**COOKIE, **ORIGIN}, {**BEARER, "host": "LOCALHOST:8123"}])
def test_whoever_has_the_token_is_answered(client, log, headers):
    answer = client.get("/echo", headers=headers)
    assert (answer.status_code, answer.text, log) == (200, "0 bytes", [])


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"authorization": "Bearer wrong"}, 401), ({"authorization": TOKEN}, 401),
    ({"authorization": f"Basic {TOKEN}"}, 401), ({"cookie": "starcast-8123=wrong"}, 401),
    ({"cookie": f"starcast-8124={TOKEN}"}, 401), ({"authorization": "Bearer "}, 401),
    ({**BEARER, "host": "evil.example"}, 421), ({**BEARER, "host": "127.0.0.1"}, 421),
    ({**BEARER, "host": "127.0.0.1:8124"}, 421), ({**BEARER, "host": "127.0.0.1:8123.evil.example"}, 421),
    ({**BEARER, "host": ""}, 421), ({**BEARER, "host": "evil.example@127.0.0.1:8123"}, 421),
    ({**BEARER, "origin": "http://evil.example"}, 403), ({**BEARER, "origin": "null"}, 403),
    ({**BEARER, "origin": f"https://{HOST}"}, 403), ({**BEARER, "origin": "http://127.0.0.1:9"}, 403),
    ({**BEARER, "sec-fetch-site": "cross-site"}, 403), ({**BEARER, "sec-fetch-site": "same-site"}, 403),
    ({**COOKIE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
])  # fmt: skip
def test_everybody_else_is_refused_with_one_line_in_the_log(client, log, headers, status):
    answer = client.get("/echo", headers=headers)
    assert (answer.status_code, len(log)) == (status, 1)
    assert set(answer.json()) == {"error"}
    assert not any(TOKEN in text for text in (answer.text, log[0]))


def test_a_request_of_two_hosts_is_refused(client):
    answer = client.get("/echo", headers=[("host", HOST), ("host", HOST), *BEARER.items()])
    assert answer.status_code == HTTPStatus.MISDIRECTED_REQUEST


def test_a_change_with_the_cookie_alone_is_refused(client):
    assert client.post("/echo", headers=COOKIE).status_code == HTTPStatus.FORBIDDEN
    assert client.post("/echo", headers={**COOKIE, **ORIGIN}).status_code == HTTPStatus.OK
    assert client.post("/echo", headers=BEARER).status_code == HTTPStatus.OK


def test_the_printed_address_gives_the_token_to_the_browser_and_leads_to_the_page(client, log):
    answer = client.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (HTTPStatus.SEE_OTHER, "/")
    assert answer.headers["set-cookie"] == f"starcast-8123={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert client.get("/").text == "0 bytes"  # with the cookie
    assert client.get("/", params={"token": TOKEN}).headers["location"] == "/"  # the token does not stay in the address
    assert not log


def test_a_link_that_was_clicked_elsewhere_opens_the_page(client):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", params={"token": TOKEN}, headers=headers).status_code == HTTPStatus.SEE_OTHER


@pytest.mark.parametrize(
    "address", ["/?token=wrong", "/?token=", f"/?token={TOKEN}&token=wrong", f"/echo?token={TOKEN}"]
)
def test_the_token_in_an_address_opens_nothing_but_the_page(client, address):
    assert client.get(address).status_code == HTTPStatus.UNAUTHORIZED


def test_over_https_the_cookie_never_leaves_unencrypted():
    access = Access("https", hosts_of(["studio.local"], 8443, "https"), 8443, TOKEN)
    assert access.set_cookie == f"__Host-starcast-8443={TOKEN}; Path=/; HttpOnly; SameSite=Strict; Secure"


def test_the_usual_port_may_be_left_out_of_the_host():
    assert hosts_of(["a"], 443, "https") == {"a", "a:443"}
    assert hosts_of(["a"], 443, "http") == {"a:443"}


@pytest.mark.parametrize("headers", [BEARER, {}])
def test_every_answer_has_the_security_headers(client, headers):
    answer = client.get("/echo", headers=headers)
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "unsafe" not in SECURITY_HEADERS["content-security-policy"]


def test_a_body_that_says_it_is_too_large_is_refused_unread(client, log):
    answer = client.post("/echo", headers=BEARER, content=bytes(1001))
    assert (answer.status_code, len(log)) == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 1)
    assert client.post("/echo", headers=BEARER, content=bytes(1000)).text == "1000 bytes"


def test_a_body_of_unknown_length_is_refused_when_it_becomes_too_large(client):
    parts = (bytes(300) for _ in range(1000))
    assert client.post("/echo", headers=BEARER, content=parts).status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_what_a_client_sends_cannot_write_into_the_log(client, log):
    client.get("/%0aforged%1b[2J" + "x" * 500)
    [line] = log
    assert (line.isprintable(), len(line) < 400) == (True, True)


@pytest.mark.parametrize(("headers", "passes"), [
    (BEARER, True), ({**COOKIE, **ORIGIN}, True), (COOKIE, False), ({**BEARER, "origin": "http://evil.example"}, False),
    ({}, False), ({**BEARER, "host": "evil.example"}, False),
])  # fmt: skip
def test_sockets_are_guarded_as_requests_are(client, log, headers, passes):
    def talk() -> str:
        with client.websocket_connect(f"ws://{HOST}/talk", headers=headers) as socket:
            socket.send_text("hello")
            return str(socket.receive_text())

    if passes:
        assert talk() == "hello"
    else:
        with pytest.raises(WebSocketDisconnect):
            talk()
        assert len(log) == 1
