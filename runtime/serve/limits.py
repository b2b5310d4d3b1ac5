"""How much a client may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is beyond these is refused."""

    upload_bytes: int = 64 * 2**20  # of a request's body
    message_bytes: int = 8 * 2**20  # of a WebSocket's message: a frame
    pixels: int = 40_000_000  # of an image
    decode_s: float = 20.0  # for an image to be decoded
    header_s: float = 10.0  # for the head of a request to arrive
    body_s: float = 60.0  # for a body to arrive
    frame_pixels: int = 4_194_304  # of a live frame: 2048x2048
    sessions: int = 32  # live feeds at once
    connections: int = 256
