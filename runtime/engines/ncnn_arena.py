"""One block of memory for all that ncnn needs for a large image, in place of its pool.

The pool keeps each freed blob at its size, and a network has many sizes: for the AFHQ generator at 256 px it grew to
208 MB, of which no more than 134 were in use at once. Here neighbouring free parts join, and the lowest that is large
enough is taken, which needs 145 MB.

C++ calls the allocator several hundred times for each image, so it is used only for images that take long (LARGE). An
exception while C++ frees a blob would end the process. So ncnn then runs outside the main thread, the only one in which
Python handles signals.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import threading
from types import ModuleType
from typing import Any

LARGE = 2**25  # bytes of the two largest neighbouring blobs
_BLOCK = 6  # times the bytes above; the AFHQ generator uses 3. Pages that are never touched take no memory.
_ALIGNED = 64  # bytes, for vector instructions
_READ_BEYOND = 64  # bytes behind a blob that ncnn's kernels may read


class Arena:
    """Hands out parts of one block. Raises OSError where the system grants none of that size."""

    def __init__(self, size: int) -> None:
        self.size = size
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
        self._block = mmap.mmap(-1, size, **private)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._block))
        self._free = [(0, size)]  # (start, length) of each free part, in order
        self._taken: dict[int, int] = {}  # lengths by start
        self._lock = threading.Lock()

    def take(self, size: int) -> int | None:
        """The address of a free part of so many bytes; None if there is none."""
        wanted = -(-(size + _READ_BEYOND) // _ALIGNED) * _ALIGNED
        with self._lock:
            for place, (start, length) in enumerate(self._free):
                if length >= wanted:
                    self._free[place : place + 1] = [(start + wanted, length - wanted)] if length > wanted else []
                    self._taken[start] = wanted
                    return self._start + start
        return None

    def give_back(self, address: int) -> bool:
        """Free the part at an address; False if it is not one of ours."""
        with self._lock:
            start = address - self._start
            length = self._taken.pop(start, None)
            if length is None:
                return False
            place, end = bisect.bisect(self._free, (start, 0)), start + length
            if place < len(self._free) and self._free[place][0] == end:
                end += self._free.pop(place)[1]
            if place and sum(self._free[place - 1]) == start:
                place -= 1
                start = self._free.pop(place)[0]
            self._free.insert(place, (start, end - start))
        return True


def block_size(largest_blobs: int) -> int | None:
    """The size of the arena for an image whose two largest neighbouring blobs take so many bytes; None if it is small,
    and the pool takes little."""
    return _BLOCK * largest_blobs if largest_blobs >= LARGE else None


def make_allocator(ncnn: ModuleType, arena: Arena) -> Any:
    """An allocator for ncnn that takes from the arena, and from a pool of its own once the arena is full. None if this
    ncnn passes addresses to Python in an unknown form: an error while it frees one would end the process."""
    if not _knows_addresses(ncnn):
        return None

    class ArenaAllocator(ncnn.PoolAllocator):  # type: ignore[misc,name-defined]
        """ncnn's addresses are capsules in Python."""

        def fastMalloc(self, size: int) -> object:  # noqa: N802  C++'s name
            address = arena.take(size)
            return super().fastMalloc(size) if address is None else _new_capsule(address, None, None)

        def fastFree(self, capsule: object) -> None:  # noqa: N802
            if not arena.give_back(_pointer_of(capsule, None)):
                super().fastFree(capsule)

    return ArenaAllocator()


def _knows_addresses(ncnn: ModuleType) -> bool:
    pool = ncnn.PoolAllocator()
    capsule = pool.fastMalloc(_ALIGNED)
    try:
        return _pointer_of(capsule, None) is not None
    except (TypeError, ValueError, ctypes.ArgumentError):
        return False
    finally:
        pool.fastFree(capsule)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
