"""Implementations of one thing, timed in turn on a GPU that is warm; one failure does not stop the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Run = Callable[[], float]  # runs once, and returns its time
MAX_REASON = 200  # characters


def time_in_turn(
    makers: Mapping[str, Callable[[], Run]], rounds: int, *, warm_up_s: float
) -> tuple[dict[str, float], dict[str, str]]:
    """The time of each implementation, and why others failed. A maker compiles, and returns what is timed."""
    runs, failures = {}, {}
    for name, make in makers.items():
        try:
            runs[name] = make()
        except Exception as error:  # noqa: BLE001 - compilers, Triton and the driver each raise classes of their own
            failures[name] = _reason(error)
    try:
        return interleave(runs, rounds, warm_up_s=warm_up_s), failures
    except RuntimeError as error:  # a fault on the GPU shows late, and nothing runs there any more
        return {}, failures | dict.fromkeys(runs, _reason(error))


def interleave(runs: Mapping[str, Run], rounds: int, *, warm_up_s: float) -> dict[str, float]:
    """The median time of each, round by round, so that heating affects all alike. Before, all run for `warm_up_s`: a
    GPU's clocks fall while a compiler keeps it waiting."""
    names = list(runs)
    end = time.monotonic() + warm_up_s
    while names and time.monotonic() < end:
        for run in runs.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds if names else 0):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in times.items()}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
