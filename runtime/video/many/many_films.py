"""Make many films in a row: an engine for each bundle, opened once; what fails is listed at the end, the rest goes on.

A film that is there already is skipped, so the same command goes on where an earlier one stopped.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from starcast.errors import EngineError, OptionError, StarcastError, printable
from starcast.occupied import OVERWRITE, already
from starcast.refusals import sentence_of
from starcast.runtime.bundle import Bundle
from starcast.runtime.folder.outputs import refuse_to_overwrite_sources
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.progress import ProgressBar, TotalBar
from starcast.runtime.video.film_maker import FilmMaker, Look
from starcast.runtime.video.input.frame_count import expected_frames
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.report import FilmReport

_DISK_IS_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_NO_MEMORY = "there is not enough memory for it: give a smaller --batch, or free some memory"


class State(enum.Enum):
    """What became of a film."""

    WAITING = "waiting"
    IN_WORK = "in work"
    DONE = "done"
    THERE = "there already"
    FAILED = "failed"


@dataclass(frozen=True)
class Task:
    """A film to make."""

    bundle: Bundle
    look: Look
    source: Path
    target: Path


@dataclass
class Outcome:
    """What became of a task. `failed` has a sentence for each problem; a film may be done in spite of some. `notes` are
    what a user should know besides."""

    task: Task
    state: State = State.WAITING
    report: FilmReport | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass
class FilmsReport:
    """What `make_films` did. `problems`: sentences about what the user named, and is no film."""

    outcomes: list[Outcome]
    problems: list[str] = field(default_factory=list)

    def count(self, *states: State) -> int:
        """How many films are in one of these states."""
        return sum(outcome.state in states for outcome in self.outcomes)

    @property
    def failed(self) -> list[str]:
        """A sentence for each problem, in the order of the films."""
        return [*self.problems, *(sentence for outcome in self.outcomes for sentence in outcome.failed)]

    def summary(self) -> str:
        """One line: the counts, and the frames per second of the films that were made."""
        if are_previews([outcome.task for outcome in self.outcomes]):
            done = self.count(State.DONE)
            previews = "1 preview" if done == 1 else f"{done} previews"
            return f"{previews} written, {self.count(State.FAILED)} failed. No video was translated."
        made = [outcome.report for outcome in self.outcomes if outcome.state is State.DONE and outcome.report]
        frames, seconds = sum(report.frames for report in made), sum(report.wall_s for report in made)
        rate = f" {frames} frames, {frames / seconds:.1f} frames/s." if seconds else ""
        damaged = sum(bool(outcome.failed) for outcome in self.outcomes if outcome.state is State.DONE)
        return (
            f"{self.count(State.DONE)} {'video' if self.count(State.DONE) == 1 else 'videos'} translated"
            f"{f' ({damaged} with errors)' if damaged else ''}, "
            f"{self.count(State.THERE)} there already, {self.count(State.FAILED)} failed.{rate}"
        )


class Watcher(Protocol):
    """Told of every change of a film's state."""

    def update(self, outcomes: Sequence[Outcome], *, is_last: bool = False) -> None: ...


def are_previews(tasks: Sequence[Task]) -> bool:
    """Whether only previews are made. Raises OptionError if that holds for some of the films."""
    kinds = {task.look.options.preview for task in tasks}
    if len(kinds) > 1:
        raise OptionError("some jobs have `preview` and some have not: give --preview on the command line instead")
    return True in kinds


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raise OptionError if a film may not be written to its place, or would replace a source or a reference."""
    for task in tasks:
        check_target(task.target, task.source)
    sources = [SourceFile(task.source, Path(task.source.name)) for task in tasks]
    requests = [request for task in tasks for request in task.look.plan.requests]
    references = [request.reference for request in requests if request.reference is not None]
    refuse_to_overwrite_sources(sources, [(task.target,) for task in tasks], references)


def make_films(
    tasks: Sequence[Task],
    watcher: Watcher | None = None,
    *,
    since_ns: int | None = None,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmsReport:
    """Make the films. Those of one bundle and engine are made one after the other, in their order. With --overwrite,
    those that were written after `since_ns` stay.

    `progress` gets what concerns all of them, and at the end what failed and what a user should know. Raises
    OptionError if a film that was not made like this is in the way of one, and what makes every film impossible, such
    as a full disk; what is finished stays.
    """
    report = FilmsReport([Outcome(task) for task in tasks])
    groups = _group(report.outcomes)
    in_order = [outcome for group in groups for outcome in group]
    notify = partial(watcher.update, report.outcomes) if watcher is not None else _ignore
    say = [progress]  # while there is a bar, its way to print

    def tell(line: str) -> None:
        say[-1](line)

    with ExitStack() as closing:
        makers = [closing.enter_context(FilmMaker(group[0].task.bundle, _looks_of(group), tell)) for group in groups]
        _refuse_what_is_in_the_way(groups, makers)
        expected = [expected_frames(outcome.task.source, outcome.task.look.options) for outcome in in_order]
        can_be_raised = len(_looks_of(in_order)) == 1
        try:
            with TotalBar(expected, "frames", "video", show=show_progress, progress=progress) as bar:
                say.append(bar.print)
                numbered = enumerate(in_order)
                for group, maker in zip(groups, makers, strict=True):
                    for number, outcome in islice(numbered, len(group)):
                        outcome.state = State.IN_WORK
                        notify()
                        _make(outcome, maker, bar, number, since_ns, can_be_raised=can_be_raised)
                        notify()
                    maker.close()
        except BaseException:
            for outcome in in_order:
                if outcome.state is State.IN_WORK:
                    outcome.state = State.WAITING
            _tell(report, progress)
            done = report.count(State.DONE, State.THERE)
            progress(f"{done} of {len(tasks)} videos are done: run the same command again to go on")
            raise
        finally:
            say[1:] = []
            notify(is_last=True)
    _tell(report, progress)
    return report


def _ignore(*, is_last: bool = False) -> None:
    pass


def _looks_of(outcomes: Iterable[Outcome]) -> list[Look]:
    return list(dict.fromkeys(outcome.task.look for outcome in outcomes))


def _group(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """Films that can share an engine, in the order of the first of each group."""
    groups: dict[object, list[Outcome]] = {}
    for outcome in outcomes:
        look = outcome.task.look
        engine = tuple(sorted(look.options.engine.items(), key=lambda item: item[0]))
        groups.setdefault((outcome.task.bundle.path.resolve(), outcome.task.bundle.sha256, engine), []).append(outcome)
    return list(groups.values())


def _refuse_what_is_in_the_way(groups: Sequence[Sequence[Outcome]], makers: Sequence[FilmMaker]) -> None:
    """Raise OptionError if a film is in the way, or cannot be written as the options say."""
    obstacles: dict[str, list[Path]] = {}
    for group, maker in zip(groups, makers, strict=True):
        for task in (outcome.task for outcome in group):
            clause = maker.record_of(task.look, task.source, task.target).why_in_the_way()
            if clause is not None and not task.look.options.overwrite and not task.look.options.preview:
                obstacles.setdefault(clause, []).append(task.target)
    for clause, paths in obstacles.items():
        more = f" (the first of {len(paths)})" if paths[1:] else ""
        raise OptionError(already(paths[0], f"exists, {clause}{more}", OVERWRITE))


def _make(
    outcome: Outcome, maker: FilmMaker, bar: TotalBar, number: int, since_ns: int | None, *, can_be_raised: bool
) -> None:
    """Make a film, or note why not. Raises what makes every other film impossible, too: a full disk and, if it
    `can_be_raised`, an engine or a style that cannot be opened."""
    task = outcome.task
    broken = maker.broken.get(task.look)
    if broken is not None:
        _fail(outcome, f"{printable(task.source)} is not translated: {broken}")
        bar.skip(number)
        return

    def open_bar(frames: int) -> AbstractContextManager[ProgressBar]:
        return bar.part(number, task.source.name, frames, outcome.notes.append)

    try:
        outcome.report = maker.make(task.look, task.source, task.target, open_bar, since_ns)
    except (StarcastError, OSError, MemoryError) as error:
        if _is_unwritable(error) or (can_be_raised and task.look in maker.broken):
            raise
        if isinstance(error, EngineError):
            maker.close()  # the next film opens it again
        _fail(outcome, _sentence(error, task))
        bar.skip(number)
        return
    outcome.failed = list(outcome.report.failed)
    outcome.notes = [note for note in dict.fromkeys(outcome.notes) if note not in outcome.failed]
    outcome.state = State.DONE
    if outcome.report.is_there_already:
        outcome.state = State.THERE
        bar.skip(number)


def _fail(outcome: Outcome, sentence: str) -> None:
    outcome.state = State.FAILED
    outcome.failed.append(sentence)


def _sentence(error: Exception, task: Task) -> str:
    if isinstance(error, MemoryError):
        return f"{printable(task.source)}: {_NO_MEMORY}"
    if isinstance(error, OSError) and not isinstance(error, StarcastError):
        return sentence_of(error)
    text = str(error)
    return text if printable(task.source.name) in text or printable(task.target.name) in text else (
        f"{printable(task.source)}: {text}"
    )  # fmt: skip


def _is_unwritable(error: BaseException | None) -> bool:
    """Whether an error is one that every later output would meet."""
    while error is not None:
        if getattr(error, "errno", None) in _DISK_IS_UNWRITABLE:
            return True
        error = error.__cause__
    return False


def _tell(report: FilmsReport, progress: Callable[[str], None]) -> None:
    """Say what failed and what a user should know, each kind once."""
    kinds: dict[str, list[tuple[Outcome, str]]] = {}
    for outcome in report.outcomes:
        for note in outcome.notes:
            kinds.setdefault(_without_names(note, outcome.task), []).append((outcome, note))
    for noted in kinds.values():
        more = len({id(outcome) for outcome, _ in noted}) - 1
        progress(noted[0][1] + (f" ({more} more: the same)" if more else ""))
    sentences = [sentence for outcome in report.outcomes for sentence in outcome.failed]
    if sentences:
        progress(f"Failed ({len(sentences)}):")
        for sentence in sentences:
            progress(f"  {sentence}")


def _without_names(note: str, task: Task) -> str:
    """A note in which no name of a film tells it from those of other films."""
    for path in (task.source, task.target):
        for name in (printable(path), printable(path.name)):
            note = note.replace(name, "…")
    return note
