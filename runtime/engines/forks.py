"""What still works in a process that was forked from one that used engines.

A fork copies the memory of a process but only one of its threads. The thread pools of OpenMP (ncnn, torch) and TBB
(OpenVINO) do not notice: they hand work to threads that are gone, and wait for ever. OpenMP keeps a pool for each
thread that starts work, so a new thread gets a pool that works. TBB keeps one for the whole process, and GPU drivers
refuse a forked process altogether.

So a session starts over in a forked child: it does not free what it had opened, because that would wait for the same
threads, and opens its graphs again as far as its engine allows.
"""

from __future__ import annotations

import os
import weakref
from typing import Literal, Protocol

from starcast.errors import EngineError

# What an engine does in a process forked from one that has used it.
AfterFork = Literal["works", "works in a new thread", "never works"]


class StartsAfresh(Protocol):
    """What `follow` calls in a forked child, before anything else runs there."""

    def start_afresh(self) -> None: ...


_used: set[str] = set()  # engines that this process has opened a graph with
_used_before: set[str] = set()  # engines that its parent, or an earlier ancestor, used
_followed: weakref.WeakSet[StartsAfresh] = weakref.WeakSet()
_abandoned: list[object] = []  # the parent's sessions


def why_not(engine: str, after_fork: AfterFork) -> str | None:
    """Why an engine cannot be used in this process, as a clause, or None."""
    if after_fork != "never works" or engine not in _used_before:
        return None
    return (
        f"this process was forked from one that has used {engine}, whose threads are lost in a fork: "
        'start processes with multiprocessing.get_context("spawn"), or give --backend onnxruntime'
    )


def note_use(engine: str, after_fork: AfterFork) -> None:
    """Note that this process opens a graph with an engine. Raises EngineError if that would hang."""
    reason = why_not(engine, after_fork)
    if reason is not None:
        raise EngineError(f"{engine} cannot be used ({reason})")
    _used.add(engine)


def needs_thread(engine: str, after_fork: AfterFork) -> bool:
    """Whether all calls of the engine must come from a thread that was started after the fork."""
    return after_fork == "works in a new thread" and engine in _used_before


def follow(session: StartsAfresh) -> None:
    """Call `start_afresh` of a session in every forked child, for as long as the session lives."""
    _followed.add(session)


def abandon(parts: list[object]) -> None:
    """Keep the parent's sessions, so that they are never freed in this process."""
    _abandoned.extend(parts)


def _start_afresh() -> None:
    _used_before.update(_used)
    _used.clear()
    for session in list(_followed):
        session.start_afresh()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_afresh)
