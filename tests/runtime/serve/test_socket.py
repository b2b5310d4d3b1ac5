"""Live frames over the WebSocket: each is translated in the look that was asked for, mistakes are sentences."""

from __future__ import annotations

import json
import re
import struct
import time

import cv2
import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from starcast.runtime.live.looks import CHANGE_S

NEAR = 3  # levels that a JPEG may be off in one colour


def picture(colour, size=32, kind=".png"):
    """An image of one colour, RGB, as a file."""
    return cv2.imencode(kind, np.full((size, size, 3), colour[::-1], np.uint8))[1].tobytes()


def frame(number, colour, size=32):
    return struct.pack("<I", number) + picture(colour, size, ".webp")


def colour_of(message):
    """Number and mean colour of an answer."""
    number, engine_ms = struct.unpack_from("<If", message)
    assert engine_ms > 0
    image = cv2.imdecode(np.frombuffer(message[8:], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (32, 32, 3)
    return number, image.mean(axis=(0, 1))[::-1]


def settled(socket, number, colour):
    """The translation of a frame once the look has changed; frames are sent until it stays the same."""
    before = None
    for _ in range(200):
        socket.send_bytes(frame(number, colour))
        found = colour_of(socket.receive_bytes())[1]
        if before is not None and np.allclose(found, before, atol=0.01):
            return found
        before = found
    raise AssertionError("the look never settles")


def expected(tiny_model, style, colour):
    return tiny_model.translation(np.full((1, 4, 4, 3), colour, np.uint8), style)[0, 0, 0]


def test_a_frame_comes_back_translated_with_its_number(served, tiny_model):
    style = served.service.translator.style(0, seed=0)
    with served.socket("/live") as socket:
        socket.send_bytes(frame(77, (90, 120, 60)))
        number, colour = colour_of(socket.receive_bytes())
    assert number == 77
    assert colour == pytest.approx(expected(tiny_model, style, (90, 120, 60)), abs=NEAR)


@pytest.mark.parametrize("wish", [
    {"domain": "dog", "seed": 5}, {"domain": 2, "seed": 5, "psi": 0.5},
    {"domain": "cat", "seed": 1, "second": {"domain": "wild", "seed": 2}, "blend": 0.25},
])  # fmt: skip
def test_a_look_that_is_sent_shows_in_the_next_frames(served, tiny_model, wish):
    def style_of(one):
        return served.service.translator.style(one["domain"], seed=one["seed"], psi=one.get("psi", 1.0))

    style = style_of(wish)
    if "second" in wish:
        style = style + np.float32(wish["blend"]) * (style_of(wish["second"]) - style)
    with served.socket("/live") as socket:
        socket.send_text(json.dumps(wish))
        found = settled_after_change(socket)
    assert found == pytest.approx(expected(tiny_model, style, (100, 100, 100)), abs=NEAR)


def settled_after_change(socket):
    end = time.monotonic() + 2 * CHANGE_S
    while time.monotonic() < end:  # the look is made beside the frames
        socket.send_bytes(frame(1, (100, 100, 100)))
        socket.receive_bytes()
    return settled(socket, 2, (100, 100, 100))


def test_the_style_of_a_dropped_reference_is_its_own(served, tiny_model):
    name = served.client.post("/api/references", content=picture((200, 40, 120), 48)).json()["reference"]
    style = served.service.translator.style("dog", reference=np.full((48, 48, 3), (200, 40, 120), np.uint8))
    with served.socket("/live") as socket:
        socket.send_text(json.dumps({"domain": "dog", "reference": name}))
        found = settled_after_change(socket)
    assert found == pytest.approx(expected(tiny_model, style, (100, 100, 100)), abs=NEAR)


def test_a_thumbnail_is_the_frame_in_that_look(served, tiny_model):
    answer = served.client.post(
        "/api/thumbnails", params={"look": json.dumps({"domain": "wild", "seed": 9})},
        content=picture((90, 120, 60), kind=".webp"),
    )  # fmt: skip
    assert answer.headers["content-type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    style = served.service.translator.style("wild", seed=9)
    assert image.mean(axis=(0, 1)) == pytest.approx(expected(tiny_model, style, (90, 120, 60)), abs=NEAR)


@pytest.mark.parametrize(("message", "why"), [
    ("{", "the look cannot be read"), ('{"seed": -1}', "the look cannot be read"),
    ('{"seed": 1, "x": 2}', "cannot be read"), ('{"seed": 1, "psi": 1e9}', "cannot be read"),
    ("[" * 100_000, "cannot be read"), ('{"domain": "cat"}', "give one of them"),
    ('{"domain": "cow", "seed": 1}', "cow"), ('{"domain": 0, "reference": "gone"}', "drop it once more"),
    (b"", "too short"), (b"\0\0\0\0", "too short"), (b"\0\0\0\0nothing", "not a whole JPEG or WebP"),
    (b"\0\0\0\0" + picture((1, 2, 3), kind=".png"), "not a whole JPEG or WebP"),
    (frame(0, (1, 2, 3), size=65), "too large"), (frame(0, (1, 2, 3))[:-30], "damaged|not a whole"),
])  # fmt: skip
def test_a_mistake_is_a_sentence_and_the_session_goes_on(served, message, why):
    with served.socket("/live") as socket:
        (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)
        error = json.loads(socket.receive_text())
        assert set(error) == {"error"}
        assert re.search(why, error["error"])
        socket.send_bytes(frame(3, (1, 2, 3)))
        assert colour_of(socket.receive_bytes())[0] == 3


def test_a_session_more_than_the_limit_is_told_to_come_later(served):
    with served.socket("/live"), served.socket("/live"), served.socket("/live"):
        with served.socket("/live") as socket, pytest.raises(WebSocketDisconnect) as left:
            socket.receive_text()
        assert left.value.code == 1013
    with served.socket("/live") as socket:  # a place is free again
        socket.send_bytes(frame(1, (1, 2, 3)))
        assert colour_of(socket.receive_bytes())[0] == 1
