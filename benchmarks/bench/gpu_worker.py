"""What a row's process answers on a card: a window of runs, and the parts of some runs after it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from starcast.benchmarks.bench.gpu_facts import Facts, card_facts
from starcast.benchmarks.bench.gpu_run import CardRun, Split
from starcast.benchmarks.bench.method import Method, sampled, warmed_up
from starcast.benchmarks.bench.open_row import Images

BATCH_SAMPLES = 100  # of a batch size, whose 99th percentile nobody asks for


def timed(run: CardRun, batch: Images, method: Method) -> dict[str, Any]:
    """Seconds of single runs over a batch: their median, and all of them; processor seconds of one; its parts; what the
    card tells of itself meanwhile."""
    steady = warmed_up(lambda: run(batch), method)
    cpu = time.process_time()
    samples = sampled(lambda: run(batch), method)
    spent = (time.process_time() - cpu) / len(samples)
    card = facts_under_load(lambda: run(batch))
    return {
        "seconds": statistics.median(samples),
        "cpu_seconds": spent,
        "samples": samples,
        "steady": steady,
        "split": median_split([run.split(batch) for _ in range(method.split_samples)]),
        "card": card,
    }


def timed_batch(run: CardRun, images: Images, size: int, file: Path, method: Method) -> dict[str, Any]:
    """The same for a batch of `size`, filled up by taking the pictures again; saves the first ones' translations."""
    batch = np.ascontiguousarray(images[np.arange(size) % len(images)])
    np.save(file, run(batch)[: len(images)])
    return timed(run, batch, replace(method, window_samples=min(method.window_samples, BATCH_SAMPLES)))


def facts_under_load(run: Callable[[], object]) -> Facts | None:
    """What the card tells of its clocks, power and temperature while it runs: idle, it tells nothing of them."""
    with ThreadPoolExecutor(1) as asking:
        told = asking.submit(card_facts)
        while not told.done():
            run()
    return told.result()


def median_split(splits: Sequence[Split]) -> dict[str, float | None]:
    """Each part by itself, in milliseconds."""
    return {
        name: None if getattr(splits[0], name) is None else statistics.median(getattr(one, name) for one in splits)
        for name in ("copy_in", "compute", "copy_out", "enqueue")
    }
