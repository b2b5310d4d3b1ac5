"""The server's application: all routes behind the guard."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from starcast.errors import EngineError, StarcastError
from starcast.runtime.serve import socket
from starcast.runtime.serve.api import domains, openapi, references, thumbnails, translations
from starcast.runtime.serve.guard import Access, Guard, refused
from starcast.runtime.serve.inference_v2 import routes as inference_v2
from starcast.runtime.serve.page import routes as page
from starcast.runtime.serve.service import Service

PARTS = (page, socket, domains, translations, references, thumbnails, openapi, inference_v2)


def build_app(service: Service, access: Access) -> Guard:
    """Every part's routes behind the guard. Errors are JSON: `{"error": "one sentence"}`."""

    def answer(request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        service.log(refused(request.scope, status, sentence))
        return JSONResponse({"error": sentence}, status, headers)

    async def unserved(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(request, error.status_code, error.detail, error.headers)

    async def mistaken(request: Request, error: Exception) -> JSONResponse:
        status = HTTPStatus.INTERNAL_SERVER_ERROR if isinstance(error, EngineError) else HTTPStatus.BAD_REQUEST
        return answer(request, status, str(error))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        service.log(f"failed {request.method} {request.url.path}: {type(error).__name__}: {error}")
        return JSONResponse({"error": "The server failed; its log says why."}, HTTPStatus.INTERNAL_SERVER_ERROR)

    app = Starlette(
        routes=[route for part in PARTS for route in part.routes(service)],
        exception_handlers={HTTPException: unserved, StarcastError: mistaken, Exception: failed},
    )
    return Guard(app, access, service.limits, service.log)
