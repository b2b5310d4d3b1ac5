"""One task from its batches to its figures (FIDs, LPIPS, KID and accuracy) and its best and worst outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.evaluation.judges import USUAL
from starcast.benchmarks.evaluation.measure import SHOWN, Task, measure_batch
from starcast.benchmarks.evaluation.protocol import Batch
from starcast.benchmarks.evaluation.work import BatchRecord, TaskRecord, Work
from starcast.benchmarks.quality.distances import Frechet, kernel_distance

FID, LPIPS, CLEAN, KID, USUAL_FID, ACCURACY = "FID", "LPIPS", "cleanFID", "KID", "usualFID", "accuracy"

Distances = Mapping[str, Frechet]  # to the target's real images, by the features' name


def run_task(
    task: Task, key: str, batches: Sequence[Batch], work: Work, frechet: Distances, advance: Callable[[int], None]
) -> TaskRecord:
    """Measure the missing batches; compute the figures from all. Raises what translating raises, and OSError."""
    for batch in batches:
        if work.read_batch(key, batch.number) is None:
            work.write_batch(key, batch.number, measure_batch(task, batch, advance))
        else:
            advance(task.outputs * len(batch.sources))

    def records() -> Iterator[BatchRecord]:
        """The batches, one at a time, as they were written."""
        for batch in batches:
            record = work.read_batch(key, batch.number)
            assert record is not None  # it was written above
            yield record

    figures = {FID: frechet["official"](record.official for record in records())}
    if task.outputs > 1:
        # a short last batch counts as a full one, as in the official program
        figures[LPIPS] = float(np.mean([record.lpips.mean() for record in records()]))
    if "clean" in task.prepare:
        figures[CLEAN] = frechet["clean"](record.clean for record in records())
        figures[KID] = kernel_distance(
            task.real["clean"], _clean_rows(task, work.scratch(key), batches, records()), task.seed
        )
    if USUAL in task.prepare:
        figures[USUAL_FID] = frechet[USUAL](record.usual for record in records())
    if task.classify is not None:
        figures[ACCURACY] = float(np.mean(np.concatenate([record.classes for record in records()]) == task.pair.target))
    record = _finish(task, figures, batches, records())
    work.write_task(key, record)
    return record


def _clean_rows(
    task: Task, folder: Path, batches: Sequence[Batch], records: Iterator[BatchRecord]
) -> NDArray[np.float32]:
    """The clean features of all batches as a memory map of a file in `folder`."""
    shape = task.outputs * sum(len(batch.sources) for batch in batches), task.judges.features.width
    rows = np.lib.format.open_memmap(folder / "clean.npy", "w+", np.float32, shape)
    start = 0
    for record in records:
        rows[start : start + len(record.clean)] = record.clean
        start += len(record.clean)
    return rows


def _finish(
    task: Task, figures: Mapping[str, float | None], batches: Sequence[Batch], records: Iterator[BatchRecord]
) -> TaskRecord:
    """The figures, and the best and worst outputs of all batches."""
    rows: list[tuple[float, int, int, int, NDArray[np.uint8]]] = []
    for batch, record in zip(batches, records, strict=True):
        for place, output in zip(record.shown, record.shown_outputs, strict=True):
            turn, source = divmod(int(place), len(batch.sources))
            reference = -1 if batch.references is None else int(batch.references[turn, source])
            row = int(record.nearest[place])
            nearest = -1 if row < 0 else task.real_places[row]
            rows.append((float(record.distances[place]), batch.sources[source], reference, nearest, output))
        rows.sort(key=lambda row: row[0])
        if len(rows) > 2 * SHOWN:
            rows = [*rows[:SHOWN], *rows[-SHOWN:]]
    return TaskRecord(
        measures=np.array(list(figures), np.str_),
        figures=np.array([np.nan if value is None else value for value in figures.values()], np.float64),
        distances=np.array([row[0] for row in rows]),
        sources=np.array([row[1] for row in rows], np.int64),
        references=np.array([row[2] for row in rows], np.int64),
        nearest=np.array([row[3] for row in rows], np.int64),
        outputs=np.stack([row[4] for row in rows]),
        left_out=np.array(task.left_out, np.str_),
    )
