"""A card made of numpy, and the driver that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("cuda.bindings.driver", reason="the fake card's constants are cuda-python's")

from fake_cuda import FakeCuda, install

from starcast.runtime.nvidia import gpu
from starcast.runtime.nvidia.cuda_python import CudaPython


@pytest.fixture
def card(monkeypatch) -> Iterator[FakeCuda]:
    yield install(monkeypatch, FakeCuda())
    gpu._found.cache_clear()


@pytest.fixture
def driver(card) -> Iterator[CudaPython]:
    """A hold on the card; what a test leaves behind fails it."""
    held = CudaPython()
    with held.active():
        yield held
    held.close()
    assert card.leaks() == []
