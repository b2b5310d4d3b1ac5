"""The description of the API, by which clients and tools are made."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from starcast import __version__
from starcast.images.fit import FITS
from starcast.runtime.seed_lists import LARGEST_SEED
from starcast.runtime.serve.api.translations import FORMATS
from starcast.runtime.serve.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """GET /api/openapi.json."""
    described = describe(service)

    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(described)

    return [Route("/api/openapi.json", openapi, methods=["GET"])]


def describe(service: Service) -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Starcast: {service.bundle.path.resolve().name}", "version": __version__,
            "description": "Translate images with one bundle. Errors are {\"error\": \"one sentence\"}.",
        },
        "security": [{"token": []}],
        "paths": {
            "/api/domains": {"get": _operation("What the model can do", _json(_ref("Domains")))},
            "/api/translations": {"post": _operation("Translate an image", {
                f"image/{kind}": {"schema": {"type": "string", "contentMediaType": f"image/{kind}"}} for kind in FORMATS
            }, {"multipart/form-data": {"schema": {
                "type": "object", "required": ["image"],
                "properties": {
                    "image": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "look": {"type": "string", "contentMediaType": "application/json", "contentSchema": _ref("Look")},
                    "fit": {"type": "string", "enum": list(FITS), "default": "stretch"},
                    "format": {"type": "string", "enum": list(FORMATS), "default": "png"},
                },
            }}})},
            "/api/styles": {"post": _operation(
                "Make a style, or a blend of two", _json({
                    "type": "object", "required": ["style"], "properties": {"style": {"type": "array"}}
                }), _json(_ref("Look")),
            )},
            "/api/references": {"post": _operation(
                "Keep an image whose style looks can name", _json({
                    "type": "object", "required": ["reference"], "properties": {"reference": {"type": "string"}}
                }), _image(),
            )},
            "/api/thumbnails": {"post": {
                **_operation("Translate a frame to a small JPEG", {
                    "image/jpeg": {"schema": {"type": "string", "contentMediaType": "image/jpeg"}}
                }, _image()),
                "parameters": [{
                    "name": "look", "in": "query", "required": True, "content": _json(_ref("Look")),
                }],
            }},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Style": _style(), "Look": _look(), "Domains": _domains(), "Error": {
                "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
            }},
        },
    }  # fmt: skip


def _operation(summary: str, answer: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": answer},
            "default": {"description": "One sentence that says what is wrong.", "content": _json(_ref("Error"))},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _style() -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False,
        "description": "A style of a seed or a reference in a domain, or of labels.",
        "properties": {
            "domain": {"type": ["string", "integer"]},
            "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
            "reference": {"type": "string", "description": "A name that /api/references gave."},
            "labels": {"type": "object", "additionalProperties": {"type": "number"}},
            "psi": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
        },
    }  # fmt: skip


def _look() -> dict[str, Any]:
    style = _style()
    second = {
        "second": _ref("Style"),
        "blend": {"type": "number", "minimum": 0, "maximum": 1, "default": 0, "description": "The share of `second`."},
    }
    return {
        **style,
        "description": f"{style['description']} It may be blended with a second one.",
        "properties": {**style["properties"], **second},
    }


def _domains() -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string"}}
    properties = {
        "name": {"type": "string"}, "domains": names, "labels": names,
        "takes": {"type": "array", "items": {"enum": ["seed", "reference"]}},
        "height": {"type": "integer"}, "width": {"type": "integer"},
    }  # fmt: skip
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _image() -> dict[str, Any]:
    return {"application/octet-stream": {"schema": {"type": "string", "contentMediaType": "image/*"}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
