"""The commands `demo`, `bench`, `evaluate` and `average`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.benchmarks.options import AverageOptions, BenchOptions, DemoOptions, EvaluateOptions
from starcast.click_options import options_from, out_option
from starcast.errors import printable
from starcast.options import from_flat
from starcast.path_types import ExistingPath, FileOutput, LocalPath, name_in


@click.command()
@options_from(DemoOptions)
def demo(**values: Any) -> int:
    """Draw a data set, train, export, translate, measure, and show everything on one page.

    Example: starcast demo -o demo
    """
    from starcast.benchmarks.demo.run import run_demo
    from starcast.train.stopping import TrainingStopped

    try:
        return run_demo(DemoOptions(**values))
    except TrainingStopped as stopped:
        click.echo("Stopped: give the same command again, without --fresh, to continue.", err=True)
        return stopped.status


@click.command()
@click.argument("bundle", type=LocalPath(file_okay=False), required=False)
@options_from(BenchOptions)
def bench(bundle: Path | None, **values: Any) -> None:
    """Measure a bundle on every installed engine against PyTorch and plain exports.

    Rows run in fresh processes, paired with eager PyTorch round by round, on the same inputs. A row whose output
    differs from eager's is left out of the results. On an NVIDIA GPU, TensorRT runs what `starcast build` has built.

    \b
    Examples: starcast bench my-model
              starcast bench --random-weights afhq --quick
    """
    from starcast.benchmarks.bench.run import bench as run

    click.echo(run(bundle, from_flat(BenchOptions, values)))


@click.command()
@click.argument("model", type=ExistingPath(), metavar="CHECKPOINT|BUNDLE")
@click.argument("data", type=ExistingPath(file_okay=False), metavar="DATA")
@out_option("output", "a report (.json), with a page (.html) beside it.", kind=FileOutput())
@options_from(EvaluateOptions)
def evaluate(model: Path, data: Path, output: str, **values: Any) -> int:
    """Measure the quality of a checkpoint's or bundle's translations: FID, LPIPS and KID.

    FID and LPIPS are computed as in the official StarGAN v2. Clean FID and KID use images that are resized once. DATA
    has a folder for each domain, in training's layouts: cat/train and cat/val, or train/cat and val/cat. Every held-out
    image is translated into every other domain. An interrupted evaluation continues at its last finished batch.

    \b
    Examples: starcast evaluate run photos -o report.json
              starcast evaluate my-model photos -o int8.json --precision int8 --against run
              starcast evaluate 100000_nets_ema.ckpt afhq/val -o report.json --train afhq/train --seeds 0-9
    """
    options = from_flat(EvaluateOptions, values)
    from starcast.benchmarks.evaluation.report import text_of
    from starcast.benchmarks.evaluation.run import evaluate as run

    report = name_in(output, "report.json")
    done = run(model, data, report, options, progress=lambda line: click.echo(line, err=True), show_progress=True)
    click.echo(text_of(done.report))
    where = f"The page: {printable(done.page)}"
    click.echo(f"{where} (finished by an earlier run)" if done.was_finished else where, err=True)
    return 1 if done.failed or done.report["about"]["left out"] else 0


@click.command()
@click.argument("sources", metavar="RUN|CHECKPOINT...", nargs=-1, required=True, type=ExistingPath())
@out_option("output", "a .pt file, or a folder for average.pt.", kind=FileOutput())
@options_from(AverageOptions)
def average(sources: tuple[Path, ...], output: str, **values: Any) -> None:
    """Average the weights of several checkpoints of a training, which often translates better than the last one.

    A RUN stands for all its checkpoints and snapshots, an official folder for its files. Every network that
    training averages is included, not only the generator. The result is a snapshot: export it, or train from it.

    \b
    Examples: starcast average run/ --last 5 -o average.pt
              starcast average a.pt b.pt --weights 1,3 -o average.pt
    """
    from starcast.benchmarks.average import average_checkpoints

    click.echo(f"Averaged: {average_checkpoints(sources, name_in(output, 'average.pt'), AverageOptions(**values))}")
