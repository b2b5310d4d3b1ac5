"""`starcast bench` on an NVIDIA card: latency of the rows in turn, throughput of each alone, ceilings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.ceilings import Ceilings, ceilings_in_own_process
from starcast.benchmarks.bench.gpu_engines import build_missing
from starcast.benchmarks.bench.gpu_facts import Facts, card_facts
from starcast.benchmarks.bench.gpu_rows import CARD_PEERS, PLAIN_CUDA, card_rows, peer_not_run, peer_row
from starcast.benchmarks.bench.inputs import check_size, parse_size
from starcast.benchmarks.bench.judge import difference, fault
from starcast.benchmarks.bench.measure import Measurement, measure
from starcast.benchmarks.bench.method import Method, percentile_ms
from starcast.benchmarks.bench.pace import Pace
from starcast.benchmarks.bench.peers import write_plain
from starcast.benchmarks.bench.rows import LeftOut, Row, chosen
from starcast.benchmarks.bench.subject import Subject, inputs_of
from starcast.benchmarks.bench.table import Table, judged
from starcast.benchmarks.bench.work import Work, work_of
from starcast.benchmarks.bench.worker import started
from starcast.benchmarks.options import BenchOptions
from starcast.errors import EngineError, OptionError
from starcast.train.checkpoint.file import read_checkpoint

Say = Callable[[str], None]

PLAIN = "plain.onnx"  # in the subject's folder
QUICK_ROUNDS, QUICK_BATCHES, QUICK_WINDOW_S, QUICK_SAMPLES = 3, (1, 16), 1.0, 100


@dataclass(frozen=True, kw_only=True)
class BatchFigure:
    """A row at a batch size: seconds of single runs, their parts in milliseconds; or why there are none."""

    batch: int
    samples: tuple[float, ...] = ()
    split: dict[str, float | None] | None = None
    card: Mapping[str, Any] | None = None  # what the card told of itself meanwhile
    reason: str | None = None

    @property
    def images_per_second(self) -> float | None:
        median = percentile_ms(self.samples, 50)
        return None if median is None else self.batch / median * 1000


@dataclass(frozen=True, kw_only=True)
class CardTable:
    """Everything that was measured on a card, by then: `batches` by row key, of the rows that had their turn; `facts`
    before and after, where it tells them."""

    latency: Table
    batches: dict[str, list[BatchFigure]]
    ceilings: Ceilings
    work: Work
    method: Method
    facts: tuple[Facts | None, Facts | None]


def measured_on_card(
    subject: Subject,
    options: BenchOptions,
    *,
    method: Method = Method(),
    say: Say = lambda _: None,
    keep: Callable[[CardTable], None] = lambda _: None,
) -> CardTable:
    """The rows that the options ask for, measured and judged. `keep` gets what there is after each round and each batch
    size: what ends the run should not take the figures along."""
    checkpoint = read_checkpoint(subject.checkpoint)
    side = checkpoint.config.image_size
    size = parse_size(options.size) if options.size is not None else (side, side)
    check_size(size, checkpoint.config.stride)
    batches = batches_of(options)
    rounds = options.rounds
    if options.quick:
        rounds = min(rounds, QUICK_ROUNDS)
        method = replace(method, window_s=QUICK_WINDOW_S, window_samples=QUICK_SAMPLES)
    before = card_facts()
    say("tracing the plain export")
    plain = write_plain(subject.checkpoint, subject.folder / PLAIN)
    rows, left_out = prepared_rows(subject, size, options, method.for_rounds(rounds), say)
    work = work_of(plain, subject.bundle, size)
    say("measuring the card's ceilings")
    ceilings = ceilings_in_own_process(method.device)
    inputs = subject.folder / "inputs.npz"
    inputs_of(checkpoint, rows[0], options.data).save(inputs)

    def so_far(measurement: Measurement) -> CardTable:
        measurement.left_out[:0] = left_out
        return CardTable(
            latency=judged(measurement), batches={}, ceilings=ceilings, work=work, method=method, facts=(before, None),
        )  # fmt: skip

    measurement = measure(
        rows, inputs, pace=Pace(rounds=rounds), say=say, keep=lambda measurement: keep(so_far(measurement))
    )
    assert measurement.pictures is not None
    table = so_far(measurement)
    for row in longest_last(table.latency):
        for figure in throughput(row, inputs, batches, method, measurement.pictures, say):
            told = [*table.batches.get(row.key, []), figure]
            table = replace(table, batches={**table.batches, row.key: told})
            keep(table)
    return replace(table, facts=(before, card_facts()))


def longest_last(latency: Table) -> list[Row]:
    """The rows in the order in which their throughput is measured: those that compile anew for each batch at the
    end."""
    return sorted((found.row for found in latency.rows), key=lambda row: row.form == "compiled")


def batches_of(options: BenchOptions) -> tuple[int, ...]:
    """The batch sizes whose throughput is wanted, in order. Raises OptionError."""
    if not all(text.isascii() and text.isdecimal() and int(text) > 0 for text in options.batches):
        raise OptionError(f"--batches is {','.join(options.batches)!r}: give whole numbers from 1, as 1,8,64")
    wanted = tuple(sorted({int(text) for text in options.batches}))
    return tuple(batch for batch in wanted if batch in QUICK_BATCHES) or wanted[:1] if options.quick else wanted


def prepared_rows(
    subject: Subject, size: tuple[int, int], options: BenchOptions, method: Method, say: Say = lambda _: None
) -> tuple[list[Row], list[LeftOut]]:
    """The rows, the baseline first, and those that this card does not run, of all that the options ask for. Engines of
    a bundle that nobody else can have built are built."""
    found = partial(card_rows, subject.bundle, size, options.batch, method, cache=subject.engines)
    ours, left_out = found()
    for key, peer in CARD_PEERS.items():
        reason = peer_not_run(key)
        if reason is not None:
            left_out[key] = LeftOut(name=peer.name, reason=reason)
    keys = chosen([*CARD_PEERS, *ours, *left_out], options.rows, quick=options.quick, peers=CARD_PEERS)
    if subject.engines is not None:
        failed = build_missing(subject.bundle, size, left_out.keys() & set(keys), subject.engines, say)
        ours, _ = found()
        left_out = {
            key: replace(out, reason=f"not run: {failed[key]}") if key in failed else out
            for key, out in left_out.items()
            if key not in ours
        }
    rows = []
    for key in dict.fromkeys(keys):
        if key in ours:
            rows.append(ours[key])
        elif key not in left_out:
            source = subject.folder / PLAIN if key == PLAIN_CUDA else subject.checkpoint
            rows.append(peer_row(key, source, size, options.batch, method))
    return rows, [left_out[key] for key in dict.fromkeys(keys) if key in left_out]


def throughput(
    row: Row, inputs: Path, batches: Sequence[int], method: Method, expected: NDArray[np.uint8], say: Say
) -> Iterator[BatchFigure]:
    """A row alone in a fresh process, batch after batch. What fails ends it: larger batches would fail as well."""
    with tempfile.TemporaryDirectory() as folder, started(replace(row, method=method), inputs) as worker:
        file = Path(folder) / "pictures.npy"
        for batch in batches:
            say(f"batches of {batch}: {row.name}")
            try:
                answer = worker.ask(f"batch {batch} {file}")
            except EngineError as error:
                yield BatchFigure(batch=batch, reason=str(error))
                return
            pictures = np.load(file)
            wrong = fault(row, difference(pictures, expected[: len(pictures)]))
            if wrong is not None and row.ours:
                yield BatchFigure(batch=batch, reason=wrong)
                continue
            yield BatchFigure(
                batch=batch, samples=tuple(answer["samples"]), split=answer["split"], card=answer["card"]
            )  # fmt: skip
