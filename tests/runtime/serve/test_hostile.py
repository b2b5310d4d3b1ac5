"""Two hundred hostile requests over real connections: each is refused with one line in the log, and harms nothing."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image
from server_in_thread import ServerInThread
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import open_service

LIMITS = Limits(
    upload_bytes=100_000, message_bytes=50_000, pixels=1_000_000, frame_pixels=64 * 64, header_s=0.4, body_s=0.4
)


@pytest.fixture(scope="module")
def log() -> list[str]:
    """The operator's lines."""
    return []


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, log: list[str]) -> Iterator[ServerInThread]:
    """The tiny bundle, served."""
    with open_service(open_bundle(tiny_bundle), LIMITS, log.append, backend="onnxruntime", threads=1) as service:
        service.images.decode(jpeg(8))  # starts the process that decodes
        server = ServerInThread(service)
        yield server
        server.stop()


@pytest.fixture
def url(server: ServerInThread) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def token(server: ServerInThread) -> dict[str, str]:
    return {"authorization": f"Bearer {server.access.token}"}


@pytest.fixture(autouse=True)
def unharmed(server: ServerInThread, url: str, token: dict[str, str], log: list[str]) -> Iterator[None]:
    """After each kind, a good request is answered, and no connection or file stays open."""
    assert httpx.get(f"{url}/api/domains", headers=token).status_code == 200
    log.clear()
    before = open_files()
    yield
    assert httpx.get(f"{url}/api/domains", headers=token).status_code == 200
    end = time.monotonic() + 10
    while server.connections or open_files() > before:
        assert time.monotonic() < end, (server.connections, open_files(), before)
        time.sleep(0.02)


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def raw(server: ServerInThread, *parts: bytes, pause_s: float = 0.0, ends: bool = False) -> bytes:
    """What the server answers to bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):  # it may have closed already
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    return answer


PATHS = (
    "/", "/api/domains", "/api/references", "/api/thumbnails", "/live", "/page/page.js", "/page/../../etc/passwd",
    "//x", "/page/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "/api/jobs/../../../etc/passwd", "/.git/config", "/%00",
)  # fmt: skip


def test_without_the_token(url, log):
    count = 0
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        for path in PATHS:
            assert httpx.request(method, url + path).status_code == 401
            count += 1
    assert len(log) == count == 65


def test_from_other_pages_and_to_other_hosts(url, token, log):
    origins = (
        "null",
        "http://evil.example",
        url.replace("http", "https"),
        "http://localhost:1",
        "http://127.0.0.1",
        "",
    )
    hosts = (
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example",
        "0.0.0.0",
        "[::1]",
        "127.0.0.1:99999",
    )
    for origin in origins:
        assert httpx.get(url + "/api/domains", headers={**token, "origin": origin}).status_code == 403
    for host in hosts:
        assert httpx.get(url + "/api/domains", headers={**token, "host": host}).status_code == 421
    for site in ("cross-site", "same-site"):
        assert httpx.get(url + "/", headers={**token, "sec-fetch-site": site}).status_code == 403
    assert len(log) == len(origins) + len(hosts) + 2


def test_paths_that_lead_elsewhere(url, token, log):
    for path in PATHS[6:]:
        assert httpx.get(url + path, headers=token).status_code == 404
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        assert httpx.request(method, url + "/api/domains", headers=token).status_code == 405
    assert len(log) == len(PATHS[6:]) + 4
    assert all(line.isprintable() for line in log)


HEAD = b"GET /api/domains HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("request_", [
    b"\0" * 100 + b"\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"x" * 60 + b"\r\n\r\n", b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"G\xc3\x84T / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", HEAD + b"no colon\r\n\r\n", HEAD + b"Bad Name: x\r\n\r\n",
    HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    HEAD + b"Content-Length: 9999999999999999999999999999\r\n\r\n", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n", HEAD + b"X: a\0b\r\n\r\n",
    b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n",
    HEAD + b"X: a\r\n folded\nbare: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http(server, log, request_):
    answer = raw(server, request_)
    assert not answer or answer[9:12] in (b"400", b"401", b"421", b"501")
    assert len(log) == 1


def test_bodies_that_are_too_large(server, url, token, log):
    assert httpx.post(url + "/api/references", headers=token, content=bytes(200_000)).status_code == 413
    sent: list[int] = []
    parts = (bytes(10_000) for number in range(100_000) if not sent.append(number))  # a gigabyte, of unknown length
    with contextlib.suppress(httpx.WriteError):  # the server hangs up meanwhile
        assert httpx.post(url + "/api/references", headers=token, content=parts).status_code == 413
    assert len(sent) < 5_000  # it was not read to its end
    assert len(log) == 2


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG")
    return file.getvalue()


IMAGES = (
    b"", b"no image", bomb(50_000, 50_000), bomb(2**31 - 1, 2**31 - 1), bomb(100, 100), jpeg(64)[:-100],
    b"GIF89a" + bytes(99),
    b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(99), b"%!PS-Adobe\n/x {x} def x", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"II*\0" + b"\xff" * 99, b"P6 99999 99999 255\n", b"\0\0\0\x20ftypavif" + bytes(99),
)  # fmt: skip


@pytest.mark.parametrize("image", IMAGES, ids=range(len(IMAGES)))
def test_images_that_are_none_or_bombs(url, token, log, image):
    answer = httpx.post(url + "/api/references", headers=token, content=image)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert "/" not in answer.json()["error"].replace("image/", "")  # no path of the server
    answer = httpx.post(
        url + "/api/thumbnails", params={"look": '{"seed": 1, "domain": 0}'}, headers=token, content=image
    )
    assert answer.status_code == 400
    assert len(log) == 2


LOOKS = (
    "",
    "{",
    "[]",
    '{"seed": 1e400}',
    '{"seed": "x"}',
    '{"domain": 7, "seed": 1}',
    '{"seed": 1, "second": {"second": {}}}',
)


@pytest.mark.parametrize("look", LOOKS)
def test_looks_that_are_none(url, token, log, look):
    answer = httpx.post(url + "/api/thumbnails", params={"look": look}, headers=token, content=jpeg(32))
    assert (answer.status_code, len(log)) == (400, 1)


def test_requests_that_never_end(server, log, token):
    begun = time.monotonic()
    assert raw(server) == b""  # says nothing
    assert raw(server, b"G", b"E", b"T", pause_s=0.05) == b""
    assert raw(server, HEAD) == b""
    assert time.monotonic() - begun < 10
    assert ["it sent no whole request" in line for line in log] == [True] * 2  # a browser may say nothing
    head = f"POST /api/references HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 90\r\n"
    answer = raw(server, f"{head}Authorization: {token['authorization']}\r\n\r\n".encode(), b"x")
    assert answer[9:12] == b"408"
    assert len(log) == 3


def test_sockets_that_are_left_half_open(server, log, url, token):
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for connection in connections[::2]:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.shutdown(socket.SHUT_WR)
    assert httpx.get(url + "/api/domains", headers=token).status_code == 200  # meanwhile
    end = time.monotonic() + 10
    while server.connections > 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    for connection in connections:
        connection.close()
    assert len(log) <= 40


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Cookie": "starcast=x"}])
def test_sockets_of_strangers(server, log, token, headers):
    more = token if "Origin" in headers else {}
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/live", additional_headers={**headers, **more})
    assert refused.value.response.status_code == 403
    assert len(log) == 1


def test_messages_that_are_too_large_or_none_of_ours(server, token):
    def talk(message: bytes | str) -> str | int:
        with connect(f"ws://127.0.0.1:{server.port}/live", additional_headers=token) as live:
            live.send(message)
            try:
                return str(json.loads(live.recv(timeout=10))["error"])
            except Exception:  # noqa: BLE001
                return live.close_code or 0

    assert talk(bytes(60_000)) == 1009
    for message in (b"", b"\xff" * 40_000, "x" * 40_000, '{"seed": 1, "domain": "%s"}' % ("x" * 30_000)):
        assert isinstance(talk(message), str)
