"""Does memory grow, on the GPU or in the process, over thousands of calls with many shapes?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from starcast.benchmarks.bench.rows import TORCH
from starcast.benchmarks.bench.state import rss
from starcast.benchmarks.checks.check import Figures, WrongError
from starcast.benchmarks.checks.probe import CHANNELS, draw, open_session, open_tensorrt, write_probe
from starcast.runtime.engines.base import Session
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.first_gpu import open_driver
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

CALLS, SHAPES = 10_000, 100
TO_REPLAY = 3  # calls of a shape: a plain one, one that is recorded as a CUDA graph, one that replays it
REST_S = 120.0  # the longest wait for kernels that are compiled in the background
GROWTH = 16 * 2**20  # bytes that memory may grow by after the first rounds


def leaks(engine: str, folder: Path) -> Figures:
    """Memory before and after 10,000 calls over 100 shapes. TensorRT runs a layer in float16; other engines, which need
    a float32 graph, run it in float32.

    Engines keep CUDA graphs and contexts for the last shapes, so both readings follow a round of the same shapes.
    """
    kind = np.float16 if engine in FLAVOURS else np.float32
    file = write_probe(folder, draw(0, CHANNELS, CHANNELS, 1, 1).astype(kind))
    driver = open_driver()
    try:
        sizes = ((1, 1), (4, SHAPES))
        opened = open_tensorrt(engine, file, "current", sizes) if engine in FLAVOURS else open_session(engine, file)
        with opened as session:
            for _ in range(2):  # twice: the first round allocates in a different order from later ones
                _run_shapes(session, kind, TO_REPLAY)
                _wait_for_rest()
            free_before, held_before = _free_and_held(engine, driver)
            _run_shapes(session, kind, CALLS // SHAPES)
            free_after, held_after = _free_and_held(engine, driver)
    finally:
        driver.close()
    grown = {"gpu": free_before - free_after, "process": held_after - held_before}
    if max(grown.values()) > GROWTH:
        gpu, process = (grown[name] >> 20 for name in ("gpu", "process"))
        raise WrongError(f"the GPU's memory grew by {gpu} MiB, and the process's by {process} MiB")
    return {"calls": CALLS, "shapes": SHAPES, **grown}


def _run_shapes(session: Session, kind: type[Any], calls: int) -> None:
    """Run every shape `calls` times."""
    for side in range(1, SHAPES + 1):
        x = np.zeros((1 + side % 4, CHANNELS, side, side), kind)
        for _ in range(calls):
            session.run({"x": x})


def _wait_for_rest(limit_s: float = REST_S) -> None:
    """Wait until this process is idle: TensorRT for RTX compiles kernels in the background during the first calls."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        spent = time.process_time()
        time.sleep(0.2)
        if time.process_time() - spent < 0.02:
            return


def _free_and_held(engine: str, driver: Driver) -> tuple[int, int]:
    """Bytes that are free on the GPU, and bytes that this process holds."""
    if engine == TORCH:
        import torch

        torch.cuda.empty_cache()  # memory that torch reserves for later tensors is no leak
    with driver.active():
        return driver.memory()[0], rss() or 0
