"""List the translations to make: which are there already, which may be written, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from starcast.errors import printable
from starcast.runtime.folder.outputs import State
from starcast.runtime.folder.places import AHEAD, LOOKERS, Places
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.marks import Origin
from starcast.runtime.stages import map_ahead, open_pool

# what a mark's settings depend on, without and with --align
DIFFERING = "source, bundle, style or options"
DIFFERING_FACES = "source, bundle, style, options, landmarks, mean or face detector"


class Target(NamedTuple):
    """A translation to make. `is_free`: nothing was at its path, and nothing may be there when it is written."""

    style: int
    path: Path
    is_free: bool


class Job(msgspec.Struct, frozen=True):
    """A source and its missing translations."""

    source: SourceFile
    targets: tuple[Target, ...]


class Plan(msgspec.Struct, frozen=True):
    """What `plan_jobs` found. `done` counts translations that are there, `edited` names sources that were edited since
    they were translated, `failed` has a sentence for each place that cannot be written to."""

    jobs: list[Job]
    done: int
    edited: list[Path]
    failed: list[str]


def plan_jobs(
    sources: Sequence[SourceFile],
    paths: Sequence[tuple[Path, ...]],
    settings: Sequence[str],
    size: tuple[int, int] | None,
    *,
    overwrite: bool,
    since_ns: int | None = None,
    differing: str = DIFFERING,
) -> Plan:
    """The translations to make. `paths` has a path per source and style, `settings` the mark's settings of each style.

    Raises OptionError if anything is in the way that was not put there by these settings. With `overwrite` everything
    is replaced, except translations written after `since_ns`, the start of the interrupted run that goes on.
    `differing`: what decides about `settings`, for errors.
    """

    places = Places(overwrite=overwrite, since_ns=since_ns)

    def look(pair: tuple[SourceFile, tuple[Path, ...]]) -> list[State]:
        source, group = pair
        origin = Origin(source.path)
        return [places.look(path, style, origin, size) for style, path in zip(settings, group, strict=True)]

    jobs, edited = [], []
    with open_pool(LOOKERS) as workers:
        pairs = list(zip(sources, paths, strict=True))
        for (source, group), states in zip(pairs, map_ahead(workers, look, pairs, ahead=AHEAD), strict=True):
            targets = tuple(
                Target(number, path, places.is_free(state))
                for number, (path, state) in enumerate(zip(group, states, strict=True))
                if places.sort(path, state)
            )
            if State.STALE in states:
                edited.append(source.path)
            if targets:
                jobs.append(Job(source, targets))
    places.refuse(differing)
    return Plan(jobs, places.done, edited, places.failed)


def tell_edited(edited: Sequence[Path], run: str, done: str, progress: Callable[[str], None]) -> None:
    """Say in a line which sources are worked on again because they were edited since the last `run`. `done`: what is
    done to them, such as "translated"."""
    if edited:
        more = f" and {len(edited) - 1} more were" if len(edited) > 1 else " was"
        progress(f"{printable(edited[0])}{more} edited since the last {run}: {done} again")
