"""List the translations to make: which are there already, which may be written, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from starcast.errors import OptionError, printable
from starcast.runtime.folder.outputs import WRITTEN_ANYWAY, State, obstacle_at, state_of
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.marks import Origin
from starcast.runtime.stages import map_ahead, open_pool

LOOKERS = 3  # threads that read existing outputs
_AHEAD = 64


class Target(NamedTuple):
    """A translation to make. `is_free`: nothing was at its path, and nothing may be there when it is written."""

    style: int
    path: Path
    is_free: bool


class Job(msgspec.Struct, frozen=True):
    """A source and its missing translations."""

    source: SourceFile
    targets: tuple[Target, ...]


class Plan(msgspec.Struct):
    """What `plan_jobs` found. `done` counts translations that are there, `edited` names sources that were edited since
    they were translated, `failed` has a sentence for each place that cannot be written to."""

    jobs: list[Job] = msgspec.field(default_factory=list)
    done: int = 0
    edited: list[Path] = msgspec.field(default_factory=list)
    failed: list[str] = msgspec.field(default_factory=list)


def plan_jobs(
    sources: Sequence[SourceFile],
    paths: Sequence[tuple[Path, ...]],
    settings: Sequence[str],
    size: tuple[int, int] | None,
    *,
    overwrite: bool,
    since_ns: int | None = None,
) -> Plan:
    """The translations to make. `paths` has a path per source and style, `settings` the mark's settings of each style.

    Raises OptionError if anything is in the way that was not put there by these settings. With `overwrite` everything
    is replaced, except translations written after `since_ns`, the start of the interrupted run that goes on.
    """

    def look(pair: tuple[SourceFile, tuple[Path, ...]]) -> list[State]:
        source, group = pair
        origin = Origin(source.path)
        if not overwrite:
            return [state_of(path, style, origin, size) for style, path in zip(settings, group, strict=True)]
        return [
            State.DONE
            if since_ns is not None
            and modified_ns(path) >= since_ns
            and state_of(path, style, origin, size) is State.DONE
            else State.ABSENT
            for style, path in zip(settings, group, strict=True)
        ]

    plan = Plan()
    in_the_way: dict[State, list[Path]] = {State.FOREIGN: [], State.OTHER: []}
    with open_pool(LOOKERS) as workers:
        pairs = list(zip(sources, paths, strict=True))
        for (source, group), states in zip(pairs, map_ahead(workers, look, pairs, ahead=_AHEAD), strict=True):
            targets = []
            for number, (path, state) in enumerate(zip(group, states, strict=True)):
                obstacle = obstacle_at(path)
                if state is State.DONE:
                    plan.done += 1
                elif obstacle is not None and (overwrite or path.is_dir() or state in WRITTEN_ANYWAY):
                    plan.failed.append(
                        f"{printable(path)} cannot be written: {obstacle}: move it away, or choose another -o"
                    )
                elif state in WRITTEN_ANYWAY:
                    targets.append(Target(number, path, is_free=state is State.ABSENT and not overwrite))
                else:
                    in_the_way[state].append(path)
            if State.STALE in states:
                plan.edited.append(source.path)
            if targets:
                plan.jobs.append(Job(source, tuple(targets)))
    for state, why in ((State.FOREIGN, "not written by starcast"), (State.OTHER, "source, bundle, style or options")):
        if in_the_way[state]:
            raise OptionError(refusal(in_the_way[state], "files" if state is State.FOREIGN else "images", why))
    return plan


def tell_edited(edited: Sequence[Path], progress: Callable[[str], None]) -> None:
    """Say in a line which sources are translated again because they were edited."""
    if edited:
        more = f" and {len(edited) - 1} more were" if len(edited) > 1 else " was"
        progress(f"{printable(edited[0])}{more} edited since the last translation: translated again")


def refusal(paths: Sequence[Path], kind: str, why: str) -> str:
    """The sentence about existing files that stay unless --overwrite is given."""
    count = f"{len(paths)} existing {kind} have" if len(paths) > 1 else f"an existing {kind[:-1]} has"
    return f"{printable(paths[0])}: {count} another origin ({why}): choose another -o, or give --overwrite"


def modified_ns(path: Path) -> int:
    """When a file was last written to, in ns since 1970; -1 if it cannot be looked at."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return -1
