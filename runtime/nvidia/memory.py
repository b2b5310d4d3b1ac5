"""GPU memory for output arrays: reused once an array's last reference is gone."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np

from starcast.errors import EngineError
from starcast.runtime.nvidia.arrays import View
from starcast.runtime.nvidia.driver import Driver

MOST_IDLE = 4  # idle blocks of one size; a video with its frames on the GPU has two or three in use
MOST_SIZES = 4  # sizes with idle blocks: those used most recently


@dataclass(frozen=True)
class Lent:
    """Memory for an array. Call `release` once, from any thread."""

    view: View
    release: Callable[[], None]


class Outputs:
    """Memory for outputs. Once closed, it closes the driver when its last array has been returned."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._idle: OrderedDict[int, list[int]] = OrderedDict()  # by size, the most recently used last
        self._lent = 0
        self._closed = False
        self._lock = RLock()  # garbage collection may return a block in the middle of `take`

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Lent:
        """Allocate or reuse memory for an array. Call it within the driver's context."""
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            idle = self._idle_of(size)
            address = idle.pop() if idle else None
            self._lent += 1
        try:
            if address is None:
                taken = self._allocate(size)
            else:
                taken = address
                # its last user may still read it, in a stream that we do not know
                self._driver.synchronise()
        except BaseException:
            with self._lock:
                self._lent -= 1
                if address is not None:
                    self._idle_of(size).append(address)
            raise
        return Lent(View(taken, shape, dtype), lambda: self._give_back(taken, size))

    def close(self) -> None:
        """Free the idle blocks; the others are freed when they are returned."""
        with self._lock:
            self._closed = True
            last = self._lent == 0
        try:
            with self._driver.active():
                self._free_idle(0)
        finally:
            if last:
                self._driver.close()

    def _allocate(self, size: int) -> int:
        self._free_idle(MOST_SIZES)
        try:
            return self._driver.allocate(size)
        except EngineError:
            self._free_idle(0)
            return self._driver.allocate(size)

    def _free_idle(self, sizes: int) -> None:
        """Free the idle blocks of all but the most recent sizes."""
        idle: list[int] = []
        with self._lock:
            while len(self._idle) > sizes:
                idle += self._idle.popitem(last=False)[1]
        for address in idle:
            self._driver.free(address)

    def _idle_of(self, size: int) -> list[int]:
        found = self._idle.setdefault(size, [])
        self._idle.move_to_end(size)
        return found

    def _give_back(self, address: int, size: int) -> None:
        with self._lock:
            self._lent -= 1
            idle = self._idle_of(size)
            keep = not self._closed and len(idle) < MOST_IDLE
            if keep:
                idle.append(address)
            last = self._closed and self._lent == 0
        if not keep:
            with self._driver.active():
                self._driver.free(address)
        if last:
            self._driver.close()
