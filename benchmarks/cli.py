"""The commands `demo` and `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.benchmarks.options import BenchOptions, DemoOptions
from starcast.click_options import options_from
from starcast.options import from_flat
from starcast.path_types import LocalPath


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

    Rows run in fresh processes, paired with eager PyTorch round by round, on the same images. A row whose output
    differs from eager's is left out of the results. On an NVIDIA GPU, TensorRT runs what `starcast build` has built.

    \b
    Examples: starcast bench my-model
              starcast bench --random-weights afhq --quick
    """
    from starcast.benchmarks.bench.run import bench as run

    click.echo(run(bundle, from_flat(BenchOptions, values)))
