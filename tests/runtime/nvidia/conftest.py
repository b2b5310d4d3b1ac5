"""A GPU made of NumPy, and the driver that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_cuda import FakeCuda, install

from starcast.runtime.nvidia import first_gpu
from starcast.runtime.nvidia.cuda_python import CudaPython


@pytest.fixture
def card(monkeypatch) -> Iterator[FakeCuda]:
    yield install(monkeypatch, FakeCuda())
    first_gpu._ask.cache_clear()


@pytest.fixture
def driver(card) -> Iterator[CudaPython]:
    """A hold on the GPU; what a test leaves behind fails it."""
    held = CudaPython()
    with held.active():
        yield held
    held.close()
    assert card.leaks() == []
