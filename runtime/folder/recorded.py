"""A run that makes many files: what it did, and its record, written before the first file and after the last one.

`translate`, `align` and `generate` begin, count and end alike, so that a stopped run of each leaves the same record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from starcast.runtime.folder.write_output import tell_lost
from starcast.runtime.record import begin_record, end_record


class RunReport(msgspec.Struct):
    """What a run did. `done` and `skipped` count files; `failed` has a sentence per failure; `lost` has, for each
    clause on metadata that could not be kept, the sources that it is about. `wall_s` is the time from the first source
    to the last file, without starting the engine."""

    done: int = 0
    skipped: int = 0
    failed: list[str] = msgspec.field(default_factory=list)
    lost: dict[str, list[Path]] = msgspec.field(default_factory=dict)
    wall_s: float = 0.0

    def fail(self, sentence: str, progress: Callable[[str], None]) -> None:
        """Count a failure, and print it."""
        self.failed.append(sentence)
        progress(sentence)

    def take_plan(self, done: int, failed: Iterable[str], progress: Callable[[str], None]) -> None:
        """Count what an earlier run made, and what cannot be made."""
        self.skipped = done
        for sentence in failed:
            self.fail(sentence, progress)

    def counts(self, verb: str) -> dict[str, int]:
        """The record's entry. `verb` says what was done, such as "translated"."""
        return {verb: self.done, "there_already": self.skipped, "failed": len(self.failed)}

    def lines(self, verb: str, stages_ms: Mapping[str, str], images: int) -> str:
        """Two lines: the counts; milliseconds per image in each stage, and images per second."""
        lines = [f"{self.done} {verb}, {self.skipped} there already, {len(self.failed)} failed."]
        if images and self.wall_s:
            stages = ", ".join(f"{stage} {ms}" for stage, ms in stages_ms.items())
            lines.append(f"Milliseconds per image: {stages}. {images / self.wall_s:.1f} images/s.")
        return "\n".join(lines)


@contextmanager
def recorded(
    record: Path,
    save: Callable[..., None],
    report: RunReport,
    verb: str,
    progress: Callable[[str], None],
    *,
    since_ns: int | None,
    at_end: Callable[[], Mapping[str, Any]] = dict,
) -> Iterator[None]:
    """Write the record, run the body, and write it again, also if the body is stopped.

    `save` is `write_record` for this run; `since_ns` when it began, if it goes on; `at_end` gives what only the end
    knows. If the record cannot be written before the body, nothing is made (OptionError); after it, the files stay, and
    the failure counts.
    """
    save = partial(save, began_ns=begin_record(record, save, since_ns))
    start, finished = time.perf_counter(), False
    try:
        yield
        finished = True
    finally:
        report.wall_s = time.perf_counter() - start
        save = partial(save, counts=report.counts(verb), finished=finished, **at_end())
        end_record(save, record, partial(report.fail, progress=progress))
        tell_lost(report.lost, verb, progress)
