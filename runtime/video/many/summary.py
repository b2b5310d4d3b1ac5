"""The summary of many videos: a page in their folder, `starcast.html`, with thumbnails, figures and failures.

It is written anew as videos end, so it can be looked at while the others are in work.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from starcast.atomic import write_text
from starcast.errors import printable, reason_of
from starcast.runtime.video.many.many_films import Outcome, State
from starcast.runtime.video.many.thumbnails import thumbnails_of

PAGE = "starcast.html"
_MARK = "starcast: summary of videos"
_HEAD = 200  # characters in which the mark is
_PAUSE_S = 5.0  # at least, between two pages: with thousands of videos they grow large
_TONES = {State.DONE: "good", State.THERE: "good", State.FAILED: "bad"}


@dataclass(frozen=True)
class _Entry:
    """A video on the page."""

    name: str
    link: str  # "" if there is nothing to link to
    state: str
    tone: str
    facts: str
    failed: Sequence[str]
    notes: Sequence[str]
    thumbnails: Sequence[str]  # data URIs


class Summary:
    """Writes the page of `folder` whenever a video ends. `progress` gets a line if it cannot be written."""

    def __init__(self, folder: Path, progress: Callable[[str], None]) -> None:
        self._path, self._progress = folder / PAGE, progress
        self._thumbnails: dict[Path, tuple[str, ...]] = {}
        self._written = -_PAUSE_S
        self._is_off = not is_ours(self._path)
        if self._is_off:
            progress(f"{printable(self._path)} was not written by starcast and stays: there will be no summary page")

    def update(self, outcomes: Sequence[Outcome], *, is_last: bool = False) -> None:
        """Write the page, unless a video has just begun or the last page is only seconds old."""
        now = time.monotonic()
        is_early = now - self._written < _PAUSE_S or any(outcome.state is State.IN_WORK for outcome in outcomes)
        if self._is_off or (is_early and not is_last):
            return
        self._written = now
        done = sum(outcome.state in (State.DONE, State.THERE) for outcome in outcomes)
        failed = sum(outcome.state is State.FAILED for outcome in outcomes)
        lead = f"{done} of {len(outcomes)} videos are done{f', {failed} failed' if failed else ''}."
        environment = Environment(
            loader=PackageLoader("starcast.runtime.video.many", "."), autoescape=True, undefined=StrictUndefined
        )
        page = environment.get_template("summary.html.j2").render(
            mark=_MARK, title=printable(self._path.resolve().parent.name), lead=lead,
            films=[self._entry(outcome) for outcome in outcomes],
        )  # fmt: skip
        try:
            write_text(self._path, page)
        except OSError as error:
            self._is_off = True
            self._progress(f"{printable(self._path)} cannot be written ({reason_of(error)}): there is no summary page")

    def _entry(self, outcome: Outcome) -> _Entry:
        task, is_there = outcome.task, outcome.state in (State.DONE, State.THERE)
        if is_there and task.target not in self._thumbnails:
            pair = thumbnails_of(task.source, task.target, task.look.options)
            self._thumbnails[task.target] = tuple(uri for uri in pair if uri)
        link = quote(os.path.relpath(task.target, self._path.parent).replace(os.sep, "/")) if is_there else ""
        return _Entry(
            printable(task.source.name), link, outcome.state.value, _TONES.get(outcome.state, "soft"),
            _facts_of(outcome), outcome.failed, outcome.notes, self._thumbnails.get(task.target, ()),
        )  # fmt: skip


def is_ours(page: Path) -> bool:
    """Whether a page may be written here: there is none, or one of ours."""
    if not os.path.lexists(page):
        return True
    with contextlib.suppress(OSError, ValueError), page.open(encoding="utf-8") as file:
        return page.is_file() and not page.is_symlink() and _MARK in file.read(_HEAD)
    return False


def _facts_of(outcome: Outcome) -> str:
    """Frames, speed, style and size, as far as they are known."""
    report, facts = outcome.report, []
    if report is not None and outcome.state is State.DONE:
        facts.append(f"{report.frames} frames")
        if report.wall_s:
            facts.append(f"{report.wall_s:.0f} s, {report.frames / report.wall_s:.1f} frames/s")
    names = [printable(str(style.get("label", ""))) for style in outcome.task.look.facts]
    facts.append(", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else ""))
    with contextlib.suppress(OSError):
        facts.append(f"{outcome.task.target.stat().st_size / 1e6:.1f} MB")
    return " · ".join(fact for fact in facts if fact)
