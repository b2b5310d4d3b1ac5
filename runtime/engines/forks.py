"""What still works in a process that was forked from one that used engines.

A fork copies the memory of a process but only one of its threads. The thread pools of OpenMP (ncnn, torch) and TBB
(OpenVINO) do not notice: they hand work to threads that are gone, and wait for ever. OpenMP keeps a pool for each
thread that starts work, so a new thread gets a pool that works. TBB keeps one for the whole process, and GPU drivers
refuse a forked process altogether.

So a session starts afresh in a forked child: it leaves what it had opened alone, because freeing it waits for the same
threads, and opens its graphs again as far as its engine allows.
"""

from __future__ import annotations

import os
import weakref
from typing import Literal, Protocol

from starcast.errors import EngineError

# What an engine does in a process forked from one that has used it.
AfterFork = Literal["works", "works in a new thread", "never works"]


class BeginsAnew(Protocol):
    """What `follow` calls in a forked child, before anything else runs there."""

    def begin_anew(self) -> None: ...


_used: set[str] = set()  # engines that this process has opened a graph with
_used_before: set[str] = set()  # those that its parent, or an earlier ancestor, had
_followed: weakref.WeakSet[BeginsAnew] = weakref.WeakSet()
_abandoned: list[object] = []  # the parent's sessions


def why_not(engine: str, after_fork: AfterFork) -> str | None:
    """Why an engine cannot be used in this process, as a clause, or None."""
    if after_fork != "never works" or engine not in _used_before:
        return None
    return (
        f"this process was forked from one that has used {engine}, whose threads did not come along: "
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


def follow(session: BeginsAnew) -> None:
    """Call `begin_anew` of a session in every forked child, for as long as the session lives."""
    _followed.add(session)


def abandon(parts: list[object]) -> None:
    """Keep the parent's sessions, so that they are never freed in this process."""
    _abandoned.extend(parts)


def _begin_anew() -> None:
    _used_before.update(_used)
    _used.clear()
    for session in list(_followed):
        session.begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_anew)
