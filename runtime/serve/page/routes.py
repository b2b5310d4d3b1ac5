"""The page's files."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from starcast.runtime.serve.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """GET /."""

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{service.bundle.path.resolve().name} is served here.\n")

    return [Route("/", page, methods=["GET"])]
