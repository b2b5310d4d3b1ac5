"""Read the arrays of a bundle, its mean styles and noise, without trusting what their file says about its own size.

An .npz is a zip of .npy arrays. Both formats state sizes that need not be true: a few bytes can claim an
array of terabytes, and a deflated entry grows a thousandfold. So each header is compared with the shape that the
manifest demands, and no more is inflated than that shape needs.
"""

from __future__ import annotations

import ast
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from starcast.errors import BundleError

_KINDS = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")
_LONGEST_HEADER = 10_000  # bytes, as in NumPy
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes


def read_means(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The array `mean` of an .npz, which must have this shape [domains, size]: float32. Raises BundleError."""
    return read_arrays(path, {"mean": shape}, "mean styles")["mean"]


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]], what: str) -> dict[str, NDArray[np.float32]]:
    """Arrays of a bundle's .npz, as `load_arrays` returns them. `what` names them in errors. Raises BundleError."""
    try:
        return load_arrays(path, shapes)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} holds no {what} ({error}): export the bundle again") from error


def load_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Arrays of an .npz by name, float32, which must have these shapes. Raises OSError, and ValueError with the reason
    as a clause."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_entry(archive, f"{name}.npy", shape) for name, shape in shapes.items()}
    except OSError:
        raise
    except (
        ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise ValueError(_cut(str(error))) from error


def _read_entry(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    entry = archive.getinfo(name)
    if entry.compress_type not in _COMPRESSIONS:
        raise ValueError(f"{_cut(name)} is compressed in a way that NumPy does not use")
    with archive.open(entry) as file:
        return _read_array(file, shape)


def _read_array(file: IO[bytes], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The array in a .npy file. Raises ValueError if it does not have this shape, or is not of finite numbers."""
    header = _read_header(file)
    has, kind = header.get("shape"), header.get("descr")
    if has != shape:
        raise ValueError(f"they have the shape {_cut(str(has))} instead of {shape}")
    if kind not in _KINDS:
        raise ValueError(f"they are of type {_cut(str(kind))} instead of float32")
    size = math.prod(shape) * np.dtype(kind).itemsize
    content = file.read(size + 1)  # one byte more: reading to the end also checks the entry's checksum
    if len(content) != size:
        raise ValueError(f"their data is not {size} bytes long")
    by_column = header.get("fortran_order")
    if not isinstance(by_column, bool):
        raise ValueError(f"their fortran_order is {_cut(str(by_column))}")
    order: Literal["F", "C"] = "F" if by_column else "C"
    array: NDArray[Any] = np.frombuffer(content, kind).reshape(shape, order=order)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("they hold numbers that are not finite")
    return numbers


def _read_header(file: IO[bytes]) -> dict[str, Any]:
    """The header of a .npy file. (NumPy's own reader accepts what Python 2 wrote, by way of a tokenizer with errors of
    its own.) https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
        raise ValueError("they are not a NumPy array")
    length = int.from_bytes(file.read(2 * start[6]), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"their header has {length} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("their header cannot be read") from error
    if not isinstance(header, dict):
        raise ValueError("their header cannot be read")
    return header


def _cut(text: str) -> str:
    """What a file claims, short enough for a sentence."""
    return text if len(text) <= 120 else f"{text[:119]}…"
