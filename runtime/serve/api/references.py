"""Images whose style is taken."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from starcast.runtime.serve.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """POST /api/references: the body is an image; the answer names it."""

    async def references(request: Request) -> JSONResponse:
        image = await service.images(await request.body())
        return JSONResponse({"reference": await asyncio.to_thread(service.references.add, image)})

    return [Route("/api/references", references, methods=["POST"])]
