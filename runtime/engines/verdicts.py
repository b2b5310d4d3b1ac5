"""Verdicts measured on this machine: one small file per question, in the user's cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from starcast.runtime.engines import cache


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An engine and a variant, with milliseconds per image in their work, or why they were left out."""

    name: str
    ms: float | None = None
    left_out: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Every candidate in order, and the index of the fastest.

    `whole` is false if there was no time to measure some of them; `tries` is how often they were measured. `run_ms`:
    the time that the fastest engine's own calls took per image. `doubted`: real work was far from that, so it is to be
    measured again; `doubts` counts how often that has happened.
    """

    question: tuple[str, ...]
    entries: tuple[Entry, ...]
    best: int
    whole: bool = True
    tries: int = 1
    run_ms: float | None = None
    doubted: bool = False
    doubts: int = 0

    @property
    def winner(self) -> Entry:
        return self.entries[self.best]

    def sentence(self) -> str:
        """`ncnn taps9 is the fastest here: 213 ms an image (openvino taps9 281); --remeasure measures again`."""
        others = [entry for entry in self.entries if entry.ms and entry is not self.winner]
        ms = short_ms(self.winner.ms or 0)
        if not others and len({entry.name.split(" (")[0] for entry in self.entries}) == 1:
            # a named engine, whose images take so long that fewer threads were not tried
            return f"{self.winner.name} takes {ms} ms an image; --remeasure measures again"
        listed = ", ".join(f"{entry.name} {short_ms(entry.ms or 0)}" for entry in others)
        beside = f" ({listed})" if listed else ""
        return f"{self.winner.name} is the fastest here: {ms} ms an image{beside}; --remeasure measures again"


def short_ms(ms: float) -> str:
    """Milliseconds in three digits."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def folder(chosen: Path | None = None) -> Path:
    """The folder of verdicts: in the chosen cache, or beside the user's compiled graphs."""
    return cache.user_cache().with_name("measured") if chosen is None else chosen / "measured"


def count(chosen: Path | None = None) -> int:
    """The number of stored verdicts."""
    try:
        return sum(path.suffix == ".json" for path in folder(chosen).iterdir())
    except (OSError, RuntimeError):
        return 0


def recall(question: tuple[str, ...], chosen: Path | None = None) -> Verdict | None:
    """The stored verdict on a question; None if there is none, or if someone else could have put it there."""
    try:
        private = cache.private(folder(chosen))
        held = None if private is None else cache.read_json(_file(private, question), Verdict)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    whole = held is not None and held.question == question and 0 <= held.best < len(held.entries)
    return held if whole and held is not None and held.winner.ms else None


def keep(verdict: Verdict, chosen: Path | None = None) -> bool:
    """Store a verdict for the next start; False where there is no private folder for it."""
    try:
        private = cache.private(folder(chosen))
        if private is None:
            return False
        cache.write(_file(private, verdict.question), msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")
    except (OSError, RuntimeError):
        return False
    return True


def _file(private: Path, question: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\n".join(question).encode()).hexdigest()
    return private / f"{name}.json"
