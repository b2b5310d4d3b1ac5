"""The page's files. Their names are a fixed list: no path of a client is opened."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from starcast.runtime.serve.service import Service

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = ("page.css", "page.js", "gallery.js", "link.js", "look.js", "save.js", "source.js", "icon.svg")


def routes(service: Service) -> list[BaseRoute]:
    """GET /, and what it loads from /page/."""
    del service  # the page asks /api/domains
    return [_route("/", "index.html"), *(_route(f"/page/{name}", name) for name in _FILES)]


def _route(path: str, name: str) -> Route:
    content = resources.files(__package__).joinpath(name).read_bytes()
    media_type = _TYPES[name[name.rindex(".") :]]

    async def file(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, file, methods=["GET"])
