"""The models of a bundle for the Open Inference Protocol: two, the second for bundles whose styles come from seeds.

NAME        image UINT8 [N, H, W, 3], style FP32 [N or 1, S]  ->  translation UINT8 [N, H, W, 3]
            or in place of the style: seed INT64 [N or 1], domain INT64 [N or 1]
NAME-style  seed INT64 [N], domain INT64 [N or 1]  ->  style FP32 [N, S]
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from starcast import __version__
from starcast.runtime.serve.inference_v2.tensors import ProtocolError, Tensor, read_inference, unpack, write_answer
from starcast.runtime.serve.service import Service

_LENGTH = "inference-header-content-length"
_MOST_IMAGES = 64


@dataclass(frozen=True)
class ServedModel:
    """A model by its name in URLs. `inputs` and `outputs`: datatype and shape by name, -1 for any length."""

    name: str
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

    @property
    def metadata(self) -> dict[str, Any]:
        """As the protocol describes a model."""

        def described(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[dict[str, Any]]:
            return [{"name": name, "datatype": kind, "shape": list(shape)} for name, (kind, shape) in tensors.items()]

        return {
            "name": self.name, "versions": ["1"], "platform": "starcast", "inputs": described(self.inputs),
            "outputs": described(self.outputs),
        }  # fmt: skip

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise ProtocolError for inputs that the model does not take."""
        for name, tensor in tensors.items():
            if name not in self.inputs:
                raise ProtocolError(f"there is no input {name}: give {', '.join(self.inputs)}")
            kind, shape = self.inputs[name]
            fits = len(shape) == tensor.ndim and all(
                length in (-1, given) for length, given in zip(shape, tensor.shape, strict=True)
            )
            if not fits or tensor.dtype != np.dtype(_dtype(kind)):
                raise ProtocolError(
                    f"the input {name} is {tensor.dtype} {list(tensor.shape)}: give {kind} {list(shape)}"
                )


def _dtype(kind: str) -> str:
    return {"UINT8": "uint8", "FP32": "float32", "INT64": "int64"}[kind]


def models_of(service: Service) -> dict[str, ServedModel]:
    """The models of the served bundle, by name."""
    condition, translator = service.bundle.manifest.condition, service.translator
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", service.bundle.path.resolve().name)
    from_seeds = {"seed": ("INT64", (-1,)), "domain": ("INT64", (-1,))} if condition.latent is not None else {}

    def styles(tensors: Mapping[str, Tensor]) -> Tensor:
        seeds = _needed(tensors, "seed").tolist()
        domains = tensors["domain"].tolist() if "domain" in tensors else []
        if len(domains) not in (0, 1, len(seeds)) or not 0 < len(seeds) <= _MOST_IMAGES:
            raise ProtocolError(
                f"there are {len(seeds)} seeds and {len(domains)} domains: give one domain, or one each"
            )
        chosen = domains * len(seeds) if len(domains) == 1 else domains or [None] * len(seeds)
        return np.stack([
            translator.style(domain, seed=seed) for seed, domain in zip(seeds, chosen, strict=True)
        ])  # fmt: skip

    def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        images = _needed(tensors, "image")
        if not 0 < len(images) <= _MOST_IMAGES or images.size // 3 > service.limits.pixels or not images.size:
            raise ProtocolError(
                f"the image is {list(images.shape)}: give 1 to {_MOST_IMAGES}, of {service.limits.pixels} pixels in all"
            )
        reason = translator.why_not(*images.shape[1:3])
        if reason is not None:
            raise ProtocolError(f"the image has {images.shape[2]}x{images.shape[1]} pixels: {reason}")
        style = tensors["style"] if "style" in tensors else styles(tensors)
        return {"translation": translator(images, style)}

    image = ("UINT8", (-1, -1, -1, 3))
    found = [
        ServedModel(
            name, {"image": image, "style": ("FP32", (-1, condition.size)), **from_seeds}, {"translation": image},
            translate,
        )
    ]  # fmt: skip
    if from_seeds:
        outputs = {"style": ("FP32", (-1, condition.size))}
        found.append(ServedModel(f"{name}-style", from_seeds, outputs, lambda tensors: {"style": styles(tensors)}))
    return {model.name: model for model in found}


def routes(service: Service) -> list[BaseRoute]:
    """What the protocol names, below /v2."""
    models = models_of(service)

    def model_of(request: Request) -> ServedModel:
        model = models.get(request.path_params["model"])
        if model is None or request.path_params.get("version", "1") != "1":
            raise HTTPException(404, f"There is no such model or version; there is {', '.join(models)}, version 1.")
        return model

    async def server(request: Request) -> JSONResponse:
        return JSONResponse({"name": "starcast", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def healthy(request: Request) -> JSONResponse:
        return JSONResponse({"live": True, "ready": True})

    async def ready(request: Request) -> JSONResponse:
        return JSONResponse({"name": model_of(request).name, "ready": True})

    async def metadata(request: Request) -> JSONResponse:
        return JSONResponse(model_of(request).metadata)

    async def infer(request: Request) -> Response:
        model = model_of(request)
        try:
            packed = await request.body()
            encoding = request.headers.get("content-encoding", "").strip().lower()
            body = await asyncio.to_thread(unpack, packed, encoding, service.limits.upload_bytes)
            asked = await asyncio.to_thread(read_inference, body, request.headers.get(_LENGTH))
            model.check(asked.inputs)
            outputs = await asyncio.to_thread(model.run, asked.inputs)
            content, length = await asyncio.to_thread(write_answer, model.name, asked, outputs)
        except ProtocolError as error:
            raise HTTPException(400, str(error)) from error
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={_LENGTH: str(length)})

    def route(path: str, answer: Callable[[Request], Any], method: str = "GET") -> list[BaseRoute]:
        places = (f"/v2/models/{{model}}{path}", f"/v2/models/{{model}}/versions/{{version}}{path}")
        return [Route(place, answer, methods=[method]) for place in places]

    return [
        Route("/v2", server, methods=["GET"]), Route("/v2/health/live", healthy, methods=["GET"]),
        Route("/v2/health/ready", healthy, methods=["GET"]), *route("/infer", infer, "POST"), *route("/ready", ready),
        *route("", metadata),
    ]  # fmt: skip


def _needed(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ProtocolError(f"the input {name} is missing")
    return tensors[name]
