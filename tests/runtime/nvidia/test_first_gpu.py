"""Which card there is, and why there is none."""

from __future__ import annotations

import pytest
from fake_cuda import FakeCuda, install

from starcast.errors import MissingExtraError
from starcast.runtime.nvidia import first_gpu
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu


@pytest.fixture(autouse=True)
def asked_anew():
    yield
    first_gpu._ask.cache_clear()


def test_a_gpu_says_its_name_its_architecture_and_its_drivers_cuda(card):
    assert current_gpu() == Gpu("Fake RTX", (8, 9), "13.1")
    assert current_gpu().sm == "sm89"
    assert why_no_gpu() is None
    assert card.leaks() == []  # asking makes no context


@pytest.mark.parametrize(("capability", "sm"), [((7, 5), "sm75"), ((12, 0), "sm120")])
def test_an_architecture_is_written_as_compilers_do(capability, sm):
    assert Gpu("any", capability, "13.0").sm == sm


@pytest.mark.parametrize(
    ("driver", "cuda", "too_old"),
    [("12.8", 13, True), ("13.0", 13, False), ("13.1", 12, False), ("12.2", 12, False), ("12.8", None, False)],
)
def test_a_driver_runs_libraries_of_its_own_cuda_and_of_older_ones(driver, cuda, too_old):
    reason = Gpu("any", (9, 0), driver).lacks(cuda)
    assert reason == (f"made for CUDA 13, and the NVIDIA driver knows {driver}: update the driver" if too_old else None)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"starts": False}, "no NVIDIA driver is installed"),
        ({"card": None}, "the NVIDIA driver shows no GPU"),
    ],
    ids=["no driver", "no card"],
)
def test_a_machine_without_one_says_why(monkeypatch, machine, reason):
    install(monkeypatch, FakeCuda(**machine))
    assert current_gpu() is None
    assert why_no_gpu() == reason


def test_a_machine_without_a_package_that_asks_says_so(monkeypatch):
    monkeypatch.setattr(first_gpu, "_has", lambda package: False)
    first_gpu._ask.cache_clear()
    assert current_gpu() is None
    assert "pip install cuda-bindings" in why_no_gpu()
    with pytest.raises(MissingExtraError):
        first_gpu.open_driver()


def test_here_it_never_raises():
    first_gpu._ask.cache_clear()
    assert (current_gpu() is None) == (why_no_gpu() is not None)
