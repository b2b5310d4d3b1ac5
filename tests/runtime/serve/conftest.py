"""A served bundle, without a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.app import build_app
from starcast.runtime.serve.guard import Access, hosts_of
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import open_service
from starcast.runtime.serve.service import Service

HOST = "127.0.0.1:8123"


@dataclass(frozen=True)
class Served:
    """A client that has the token, the service that answers it, and the operator's lines."""

    client: TestClient
    service: Service
    log: list[str] = field(default_factory=list)

    def socket(self, path: str):
        """A WebSocket as a context."""
        return self.client.websocket_connect(f"ws://{HOST}{path}")


def serve(bundle_path: Path, limits: Limits | None = None) -> Iterator[Served]:
    """A served bundle, for a fixture."""
    log, limits = list[str](), limits or Limits(sessions=3, frame_pixels=64 * 64)
    with open_service(open_bundle(bundle_path), limits, log.append, backend="onnxruntime", threads=1) as service:
        access = Access("http", hosts_of(["127.0.0.1"], 8123, "http"), 8123)
        headers = {"authorization": f"Bearer {access.token}"}
        with TestClient(build_app(service, access), base_url=f"http://{HOST}", headers=headers) as client:
            yield Served(client, service, log)


@pytest.fixture(scope="module")
def served(tiny_bundle: Path) -> Iterator[Served]:
    """The tiny bundle, served."""
    yield from serve(tiny_bundle)
