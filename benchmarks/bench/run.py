"""`starcast bench`: prepare the rows, measure them, and show the result as a table, a JSON record and a chart."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.device import Device, Progress
from starcast.benchmarks.bench.inputs import check_size, parse_size, size_text
from starcast.benchmarks.bench.measure import compiled_last, measure_rows, measure_throughput
from starcast.benchmarks.bench.model_inputs import inputs_of
from starcast.benchmarks.bench.prepare import plain_graph, prepare_rows
from starcast.benchmarks.bench.report import draw_chart, record, text
from starcast.benchmarks.bench.result import Measurement, Result, judge_rows
from starcast.benchmarks.bench.rows import Setting
from starcast.benchmarks.bench.subject import Subject, open_subject
from starcast.benchmarks.bench.work import work_of
from starcast.benchmarks.options import BenchOptions
from starcast.benchmarks.record import write_result
from starcast.errors import OptionError, printable
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.data.folders import scan

QUICK_S = 105.0  # the time of `--quick` in seconds, from the command's start to the last round


def bench(bundle: Path | None, options: BenchOptions) -> str:
    """Measure the rows that the options name, and return the table as text. With `json`, write the record and chart.

    Raises OptionError if the options require a GPU and there is none.
    """
    from tqdm import tqdm

    start = time.perf_counter()
    device = choose_device(options.device)
    with tqdm(desc="preparing", bar_format="{desc} [{elapsed}]", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_description_str(text)

        def keep(result: Result) -> None:
            if options.json is not None:
                write_result(options.json, record(result))

        with open_subject(bundle, options.subject, device, progress, quick=options.quick) as subject:
            result = measure_subject(subject, options, device, start=start, progress=progress, keep=keep)
    if options.json is None:
        return text(result)
    keep(result)
    chart = draw_chart(options.json.with_suffix(".png"), result)
    return f"{text(result)}\nwritten: {options.json}, {chart}"


def measure_subject(
    subject: Subject, options: BenchOptions, device: Device, *, start: float | None = None,
    progress: Progress = lambda _: None, keep: Callable[[Result], None] = lambda _: None,
) -> Result:  # fmt: skip
    """Measure and judge the rows that the options ask for. `--quick` counts its time from `start`.

    `keep` is called with the result so far after each round and each batch size, so that an interrupted run keeps its
    figures.
    """
    start = time.perf_counter() if start is None else start
    if options.data is not None:
        scan(options.data)  # a data set given by --data must exist; the checkpoint's may be missing
    checkpoint = read_checkpoint(subject.checkpoint)
    if options.data is not None and checkpoint.config.stride is None:
        raise OptionError(f"--data is of no use: {printable(checkpoint.path)} makes images without a source")
    plan = device.plan(options, QUICK_S if options.quick else None)
    setting = Setting(
        size=size_of(options, checkpoint), batch=options.batch, threads=plan.threads, device=device.name,
        method=plan.method.for_rounds(plan.pace.rounds), cache=subject.engines,
    )  # fmt: skip
    before = device.state()
    rows, left_out = prepare_rows(subject, checkpoint, options, device, setting, progress)
    work = work_of(plain_graph(subject, progress), subject.bundle, setting.size)
    limits = device.measure_limits(work, setting)
    inputs = subject.folder / "inputs.npz"
    inputs_of(checkpoint, setting, options.data).save(inputs)

    def result_of(measurement: Measurement) -> Result:
        measurement.left_out[:0] = [*subject.left_out, *left_out]
        return Result(
            device=device, method=plan.method, table=judge_rows(measurement), work=work, limits=limits,
            state=(before, None), remarks=subject.remarks,
        )  # fmt: skip

    pace = plan.pace.after(time.perf_counter() - start)
    measurement = measure_rows(rows, inputs, pace=pace, progress=progress, keep=lambda so_far: keep(result_of(so_far)))
    result = result_of(measurement)
    for row in compiled_last(result.table.rows) if plan.batches else ():
        alone = replace(row, setting=replace(row.setting, method=plan.method))
        for figure in measure_throughput(alone, inputs, plan.batches, measurement.images, progress):
            figures = [*result.batches.get(row.key, ()), figure]
            result = replace(result, batches={**result.batches, row.key: figures})
            keep(result)
    return replace(result, state=(before, device.state()))


def size_of(options: BenchOptions, checkpoint: Checkpoint) -> tuple[int, int]:
    """(height, width) of the images. Raises OptionError for a size that the network does not support."""
    side = checkpoint.config.image_size
    size = parse_size(options.size) if options.size is not None else (side, side)
    stride = checkpoint.config.stride
    if stride is not None:
        check_size(size, stride)
    elif size != (side, side):
        raise OptionError(
            f"--size is {size_text(size)}, but {printable(checkpoint.path)} makes images of {side}x{side} only: leave "
            "it out"
        )
    return size


def choose_device(name: str) -> Device:
    """The CPU or an NVIDIA GPU; `auto` is the GPU if there is one. Raises OptionError if `cuda` finds none."""
    if name == "cpu":
        return Cpu()  # without querying a driver
    from starcast.train.device import choose_device as choose_for_torch

    if choose_for_torch(name).type == "cpu":
        return Cpu()
    from starcast.benchmarks.bench.gpu import NvidiaGpu

    return NvidiaGpu()
