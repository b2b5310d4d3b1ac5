"""One frame in one look, as a small JPEG: the page's gallery of seeds."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from starcast.images.fit import fit
from starcast.runtime.live.looks import Look, Looks
from starcast.runtime.serve.frames import decode_frame, encode_frame
from starcast.runtime.serve.service import Service
from starcast.runtime.serve.wishes import read_look

_SIDE = 160


def routes(service: Service) -> list[BaseRoute]:
    """POST /api/thumbnails?look=JSON: the body is a frame."""

    def thumbnail(encoded: bytes, look: Look) -> bytes:
        translator = service.translator
        image = decode_frame(encoded, service.limits.frame_pixels)
        source = np.ascontiguousarray(fit(image, translator.size, "crop"))
        style = Looks(partial(service.references.style, translator), look).style_at(0)
        return encode_frame(_small(translator(source, style)))

    async def thumbnails(request: Request) -> Response:
        look = read_look(request.query_params.get("look", "{}"))
        encoded = await request.body()
        return Response(await asyncio.to_thread(thumbnail, encoded, look), media_type="image/jpeg")

    return [Route("/api/thumbnails", thumbnails, methods=["POST"])]


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    share = min(1, _SIDE / max(height, width))
    return fit(image, (max(1, round(height * share)), max(1, round(width * share))), "stretch")
