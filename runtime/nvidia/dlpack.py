"""DLPack, with which libraries exchange arrays without a copy.

https://dmlc.github.io/dlpack/latest/c_api.html, the unversioned form, which every library supports. NumPy's
implementation knows host memory only, and PyTorch's needs PyTorch, so we define the structures here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from starcast.runtime.nvidia.placement import GPU

HOST, MANAGED = 1, 13  # kDLCPU, kDLCUDAManaged
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}  # numpy's letter -> DLDataTypeCode
_NAME, _USED = b"dltensor", b"used_dltensor"


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    """DLManagedTensor: the tensor, and what its consumer calls when done with it."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


@dataclass(frozen=True)
class Taken:
    """The contents of a capsule. Call `release` once. `strides` in elements; None: C order."""

    address: int
    device: tuple[int, int]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    release: Callable[[], None]


_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
# in a destructor the capsule has no owner any more: handle it as a bare pointer, never as an object
_bare_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_bare_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)

_given: dict[int, tuple[_Managed, Any, Any]] = {}  # by address: the structure, its sizes, the memory's owner


def _let_go(managed: int) -> None:
    _given.pop(managed, None)


def _unused(capsule: int) -> None:
    """Drop the array of a capsule that is being destroyed, unless a consumer took it."""
    if _bare_valid(capsule, _NAME):
        _given.pop(_bare_pointer(capsule, _NAME), None)


_deleter = _Deleter(_let_go)
_destructor = _Destructor(_unused)


def give(
    owner: object, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int] = (GPU, 0)
) -> Any:
    """Wrap memory in C order in a capsule, which keeps `owner` alive until the consumer is done with it."""
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed()
    tensor = managed.tensor
    tensor.data, tensor.device_type, tensor.device_id = address, *device
    tensor.ndim, tensor.shape = len(shape), ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
    tensor.code, tensor.bits, tensor.lanes = _KINDS[dtype.kind], 8 * dtype.itemsize, 1
    managed.deleter = ctypes.cast(_deleter, ctypes.c_void_p).value
    place = ctypes.addressof(managed)
    _given[place] = managed, sizes, owner
    return _new(place, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))


def take(capsule: Any) -> Taken:
    """Take over the array in another library's capsule. Raises TypeError for a type that NumPy lacks, ValueError for a
    capsule that was taken before."""
    managed = _Managed.from_address(_pointer(capsule, _NAME))
    tensor = managed.tensor
    letter = next((letter for letter, code in _KINDS.items() if code == tensor.code), None)
    if letter is None or tensor.lanes != 1 or tensor.bits % 8:
        raise TypeError(f"arrays of DLPack's kind {tensor.code} with {tensor.bits} bits are not supported")
    _rename(capsule, _USED)
    deleter, place = managed.deleter, ctypes.addressof(managed)
    axes = range(tensor.ndim)
    return Taken(
        address=(tensor.data or 0) + tensor.byte_offset,
        device=(tensor.device_type, tensor.device_id),
        shape=tuple(tensor.shape[axis] for axis in axes),
        strides=tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
        dtype=np.dtype(f"{letter}{tensor.bits // 8}"),
        release=lambda: _Deleter(deleter)(place) if deleter else None,
    )
