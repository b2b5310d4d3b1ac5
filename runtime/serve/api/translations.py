"""Translate one image by the API, as `starcast translate` does."""

from __future__ import annotations

import asyncio
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from starcast.errors import StyleError
from starcast.images.fit import FITS, fit
from starcast.runtime.live.looks import Look, Looks
from starcast.runtime.serve.service import Service
from starcast.runtime.serve.wishes import read_look

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
}


def routes(service: Service) -> list[BaseRoute]:
    """POST /api/translations and POST /api/styles."""

    def style_of(look: Look) -> NDArray[np.float32]:
        return Looks(partial(service.references.style, service.translator), look).style_at(0)

    async def translations(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=8, max_part_size=2**20) as form:
            image, choices = form.get("image"), {name: form.get(name) for name in ("look", "fit", "format")}
            if not isinstance(image, UploadFile):
                raise HTTPException(400, "The form has no file `image`.")
            texts = {name: value for name, value in choices.items() if isinstance(value, str)}
            mode, kind = texts.get("fit", "stretch"), texts.get("format", "png")
            _check("fit", mode, FITS)
            _check("format", kind, tuple(FORMATS))
            look = read_look(texts.get("look", "{}"))
            pixels = await service.images(await image.read())
        source = await asyncio.to_thread(fit, pixels, service.translator.size, mode)
        reason = service.translator.why_not(*source.shape[:2])
        if reason is not None:
            raise HTTPException(400, f"The image has {source.shape[1]}x{source.shape[0]} pixels: {reason}.")
        translation = await service.translate(source, await asyncio.to_thread(style_of, look))
        return Response(await asyncio.to_thread(_encode, translation, kind), media_type=f"image/{kind}")

    async def styles(request: Request) -> JSONResponse:
        style = await asyncio.to_thread(style_of, read_look(await request.body()))
        if not np.isfinite(style).all():
            raise StyleError("the style holds numbers that are not finite")
        return JSONResponse({"style": style.tolist()})

    return [
        Route("/api/translations", translations, methods=["POST"]), Route("/api/styles", styles, methods=["POST"])
    ]  # fmt: skip


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise HTTPException(400, f"The field `{name}` takes {', '.join(choices)}.")


def _encode(image: NDArray[np.uint8], kind: str) -> bytes:
    name, settings = FORMATS[kind]
    file = BytesIO()
    Image.fromarray(image).save(file, name, **settings)
    return file.getvalue()
