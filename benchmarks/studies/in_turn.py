"""Ways to compute one thing, timed in turn on a card that is awake; a way that fails takes no other one along."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Run = Callable[[], float]  # once; gives what it took
LONGEST_REASON = 200  # characters


def timed_in_turn(
    makers: Mapping[str, Callable[[], Run]], rounds: int, *, warm_up_s: float
) -> tuple[dict[str, float], dict[str, str]]:
    """What each way takes, and of those that failed, why. A maker compiles, and gives what is timed."""
    runs, failures = {}, {}
    for name, make in makers.items():
        try:
            runs[name] = make()
        except Exception as error:  # noqa: BLE001 - compilers, Triton and the driver each raise classes of their own
            failures[name] = _reason(error)
    try:
        return interleaved(runs, rounds, warm_up_s=warm_up_s), failures
    except RuntimeError as error:  # a fault on the card shows late, and nothing runs there any more
        return {}, failures | dict.fromkeys(runs, _reason(error))


def interleaved(runs: Mapping[str, Run], rounds: int, *, warm_up_s: float) -> dict[str, float]:
    """The median of what each gives, asked round by round: a card that grows warm does so for all. Before, all run for
    so long: a card's clocks fall while a compiler keeps it waiting."""
    names = list(runs)
    end = time.monotonic() + warm_up_s
    while names and time.monotonic() < end:
        for run in runs.values():
            run()
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds if names else 0):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
