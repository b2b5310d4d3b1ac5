"""`starcast bench`: prepare the rows, measure them, and say what came out, as a table, as JSON and as a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.benchmarks.bench.chart import draw_chart
from starcast.benchmarks.bench.inputs import check_size, parse_size
from starcast.benchmarks.bench.measure import measure
from starcast.benchmarks.bench.pace import Pace
from starcast.benchmarks.bench.peers import write_nncf, write_plain
from starcast.benchmarks.bench.rows import NNCF, PEERS, PYTORCH, LeftOut, Row, bundle_rows, chosen
from starcast.benchmarks.bench.subject import Subject, data_of, inputs_of, opened_subject
from starcast.benchmarks.bench.table import Table, json_table, judged, text
from starcast.benchmarks.options import BenchOptions
from starcast.benchmarks.record import provenance, write_result
from starcast.errors import EngineError
from starcast.runtime.cores import allowed_threads
from starcast.train.checkpoint.file import Checkpoint, read_checkpoint
from starcast.train.data.folders import scan

if TYPE_CHECKING:
    from starcast.benchmarks.bench.gpu_bench import CardTable

Say = Callable[[str], None]

QUICK_S = 105.0  # of `--quick`, from its start to the last round
PLAIN = "plain.onnx"  # in the subject's folder


def bench(bundle: Path | None, options: BenchOptions) -> str:
    """Measure what the options name and return the table as text; with `json` the record and the chart are written.

    Raises OptionError for a card that is not there.
    """
    from tqdm import tqdm

    device = device_of(options.device)
    with tqdm(desc="preparing", bar_format="{desc} [{elapsed}]", disable=None) as bar:

        def say(text: str) -> None:
            bar.set_description_str(text)

        started = time.perf_counter()
        with opened_subject(bundle, options, say, device=device) as subject:
            if device == "cuda":
                from starcast.benchmarks.bench.gpu_bench import measured_on_card

                found = measured_on_card(subject, options, say=say, keep=partial(keep_card, options.json))
                return told_of_card(found, options.json)
            # making random networks is not measuring them
            begun = started if options.config is None else time.perf_counter()
            table = measured_table(subject, options, begun=begun, say=say)
    return told(text(table), table, record_of(table), options.json)


def device_of(name: str) -> str:
    """`cpu` or `cuda`; `auto` is the card where torch has one. Raises OptionError for a card that is not there."""
    if name == "cpu":
        return name  # without asking a driver
    from starcast.train.device import choose_device

    return choose_device(name).type


def keep_card(file: Path | None, found: CardTable) -> None:
    """Write what there is of a card's record so far, if `file` is where."""
    from starcast.benchmarks.bench.gpu_table import card_record

    if file is not None:
        write_result(file, card_record(found))


def told_of_card(found: CardTable, file: Path | None) -> str:
    """The text for a card; its record and chart are written."""
    from starcast.benchmarks.bench.gpu_table import card_record, card_text, card_title

    return told(card_text(found), found.latency, card_record(found), file, title=card_title(found))


def told(shown: str, table: Table, record: dict[str, Any], file: Path | None, title: str | None = None) -> str:
    """The text, with a line on the files that are written, if `file` is where."""
    if file is None:
        return shown
    write_result(file, record)
    picture = draw_chart(file.with_suffix(".png"), table, title)
    return f"{shown}\nwritten: {file}, {picture}"


def measured_table(
    subject: Subject, options: BenchOptions, *, begun: float | None = None, say: Say = lambda _: None
) -> Table:
    """The rows that the options ask for, measured and judged. `begun`: when the clock of `--quick` started."""
    begun = time.perf_counter() if begun is None else begun
    if options.data is not None:
        scan(options.data)  # one that was asked for has to be there; the checkpoint's may be gone
    checkpoint = read_checkpoint(subject.checkpoint)
    rows, left_out = prepared_rows(subject, checkpoint, options, say)
    inputs = subject.folder / "inputs.npz"
    inputs_of(checkpoint, rows[0], options.data).save(inputs)
    left = QUICK_S - (time.perf_counter() - begun)
    pace = Pace(rounds=options.rounds, seconds=left if options.quick else None)
    measurement = measure(rows, inputs, pace=pace, say=say)
    measurement.left_out[:0] = left_out
    return judged(measurement)


def prepared_rows(
    subject: Subject, checkpoint: Checkpoint, options: BenchOptions, say: Say = lambda _: None
) -> tuple[list[Row], list[LeftOut]]:
    """The rows, their graphs written, and what cannot be run here; the first is the baseline."""
    side = checkpoint.config.image_size
    size = parse_size(options.size) if options.size is not None else (side, side)
    check_size(size, checkpoint.config.stride)
    threads = options.threads or allowed_threads()
    ours, left_out = bundle_rows(subject.bundle, size, options.batch, threads)
    by_key = {row.key: row for row in ours}
    keys = chosen([*PEERS, *by_key], options.rows, quick=options.quick)
    sources, refused = _sources(keys, subject, checkpoint, options, say)
    peers = [
        Row(
            key=key, name=peer.name, engine=peer.engine, precision=peer.precision, form=peer.form,
            source=sources[key], size=size, batch=options.batch, threads=threads,
        )
        for key, peer in PEERS.items()
        if key in sources
    ]  # fmt: skip
    rows = [*peers, *(by_key[key] for key in keys if key in by_key)]
    return rows, [*refused, *([] if options.rows else left_out)]


def record_of(table: Table) -> dict[str, Any]:
    """The figures as JSON: every sample is kept, and where it was taken."""
    return {
        "question": "how long does one batch take, uint8 in and out, beside eager PyTorch in the same round?",
        "machine": provenance(threads=table.baseline.row.threads),
        **json_table(table),
    }


def _sources(
    keys: list[str], subject: Subject, checkpoint: Checkpoint, options: BenchOptions, say: Say
) -> tuple[dict[str, Path], list[LeftOut]]:
    """What each peer among the keys runs, made if need be."""
    sources = {key: subject.checkpoint for key in keys if key in PEERS and PEERS[key].engine == PYTORCH}
    on_graphs = [key for key in keys if key in PEERS and key not in sources]
    left_out = []
    if on_graphs:
        plain = subject.folder / PLAIN
        if not plain.exists():  # a second table of the same subject has it
            say("tracing the plain export")
            write_plain(subject.checkpoint, plain)
        sources |= dict.fromkeys(on_graphs, plain)
    if NNCF in on_graphs:
        say("quantising the plain export with NNCF")
        try:
            sources[NNCF] = write_nncf(plain, subject.checkpoint, data_of(checkpoint, options.data), subject.folder)
        except EngineError as error:
            left_out.append(LeftOut(name=PEERS[NNCF].name, reason=str(error)))
            del sources[NNCF]
    return sources, left_out
