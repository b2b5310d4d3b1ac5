"""What the model can do: its domains or labels, and the size of its images."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from starcast.runtime.serve.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """GET /api/domains."""
    manifest = service.bundle.manifest
    height, width = manifest.trained_size
    labels = manifest.condition.labels
    facts = {
        "name": service.bundle.path.resolve().name,
        "domains": list(manifest.domains),
        "labels": list(labels.names) if labels is not None else [],
        "takes": [
            kind
            for kind, maker in (("seed", manifest.condition.latent), ("reference", manifest.condition.reference))
            if maker is not None
        ],
        "height": height,
        "width": width,
    }

    async def domains(request: Request) -> JSONResponse:
        return JSONResponse(facts)

    return [Route("/api/domains", domains, methods=["GET"])]
