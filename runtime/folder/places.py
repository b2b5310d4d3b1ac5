"""Sort the places that outputs go to: what is done already, what may be written, and what is in the way."""

from __future__ import annotations

from pathlib import Path

from starcast.errors import OptionError
from starcast.occupied import OVERWRITE, already, in_the_way
from starcast.runtime.folder.outputs import State, obstacle_at, state_of
from starcast.runtime.marks import Origin

LOOKERS = 3  # threads that read existing outputs
AHEAD = 64  # places that are looked at in advance
_WRITTEN_ANYWAY = (State.ABSENT, State.DAMAGED, State.STALE)


class Places:
    """The places of a command's outputs.

    With `overwrite` everything is replaced, except what was written after `since_ns`, the start of the interrupted run
    that goes on. `done` counts outputs that are there; `failed` has a sentence for each place that cannot be written.
    """

    def __init__(self, *, overwrite: bool, since_ns: int | None) -> None:
        self.done = 0
        self.failed: list[str] = []
        self._overwrite, self._since_ns = overwrite, since_ns
        self._in_the_way: dict[State, list[Path]] = {State.FOREIGN: [], State.OTHER: []}

    def look(self, path: Path, settings: str, origin: Origin | None, size: tuple[int, int] | None) -> State:
        """What `state_of` says of a path; ABSENT for what is replaced anyway. Several threads may look at once."""
        if not self._overwrite:
            return state_of(path, settings, origin, size)
        if self._since_ns is None or modified_ns(path) < self._since_ns:
            return State.ABSENT
        state = state_of(path, settings, origin, size)
        return state if state is State.DONE else State.ABSENT

    def sort(self, path: Path, state: State) -> bool:
        """Whether an output is to be written to a path in this state. If not, it is counted, or remembered as a
        failure or as in the way."""
        obstacle = obstacle_at(path)
        if state is State.DONE:
            self.done += 1
        elif obstacle is not None and (self._overwrite or path.is_dir() or state in _WRITTEN_ANYWAY):
            self.failed.append(in_the_way(path, obstacle))
        elif state in _WRITTEN_ANYWAY:
            return True
        else:
            self._in_the_way[state].append(path)
        return False

    def is_free(self, state: State) -> bool:
        """Whether nothing is at a path in this state, so that nothing may be there when the output is written."""
        return state is State.ABSENT and not self._overwrite

    def refuse(self, settings: str) -> None:
        """Raise OptionError if anything is in the way that was not put there with the same `settings`, such as "bundle,
        style or options"."""
        for state, origin in (
            (State.FOREIGN, "not written by starcast"), (State.OTHER, f"made with a different {settings}")
        ):  # fmt: skip
            paths = self._in_the_way[state]
            if paths:
                more = f" (the first of {len(paths)})" if len(paths) > 1 else ""
                raise OptionError(already(paths[0], f"exists, {origin}{more}", OVERWRITE))


def modified_ns(path: Path) -> int:
    """When a file was last written to, in ns since 1970; -1 if it cannot be looked at."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return -1
