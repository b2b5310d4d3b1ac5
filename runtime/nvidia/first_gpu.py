"""The NVIDIA GPU that we use: the first one that the driver shows (CUDA_VISIBLE_DEVICES chooses)."""

from __future__ import annotations

from functools import cache as once
from importlib.util import find_spec

from starcast.errors import EngineError, MissingExtraError
from starcast.runtime.nvidia.driver import Driver, Gpu


def current_gpu() -> Gpu | None:
    """The GPU; None where there is no driver, no GPU, or no package that queries the driver. Never raises."""
    gpu = _ask()
    return gpu if isinstance(gpu, Gpu) else None


def why_no_gpu() -> str | None:
    """Why there is no GPU, as a clause; None where there is one."""
    reason = _ask()
    return reason if isinstance(reason, str) else None


def has_driver_package() -> bool:
    """Whether a package that queries the driver is installed."""
    return _has_cuda_python() or _has("pycuda")


def open_driver() -> Driver:
    """Open the driver, holding the GPU's primary context. Raises MissingExtraError, EngineError."""
    return driver_class()()


def driver_class() -> type[Driver]:
    """The implementation whose package is installed, cuda-python's first. Raises MissingExtraError, worded as a
    clause."""
    if _has_cuda_python():
        from starcast.runtime.nvidia.cuda_python import CudaPython

        return CudaPython
    if _has("pycuda"):
        from starcast.runtime.nvidia.pycuda import PyCuda

        return PyCuda
    raise MissingExtraError(
        "neither cuda-bindings nor pycuda is installed to ask the NVIDIA driver (pip install cuda-bindings)"
    )


@once
def _ask() -> Gpu | str:
    """The GPU, or why there is none. Asked once: a driver that did not start does not start later in the process."""
    try:
        return driver_class().gpu()
    except (EngineError, MissingExtraError) as error:
        return str(error)


def _has_cuda_python() -> bool:
    # `cuda` is a namespace package: alone, it may come from a CUDA toolkit
    return _has("cuda") and _has("cuda.bindings")


def _has(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: a stub without a spec, as in tests
        return False
