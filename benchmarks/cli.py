"""The commands `demo` and `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.benchmarks.options import BenchmarkOptions, DemoOptions
from starcast.options import options_from


@click.command()
@options_from(DemoOptions)
def demo(**values: Any) -> int:
    """Make a data set, train, export, translate, measure, and show it in one page.

    Example: starcast demo -o demo
    """
    from starcast.benchmarks.demo import run_demo

    return run_demo(DemoOptions(**values))


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options_from(BenchmarkOptions)
def benchmark(checkpoint: Path, bundle: Path, **values: Any) -> None:
    """Measure eager PyTorch against a bundle on every engine here.

    CHECKPOINT is what BUNDLE was exported from. Rows run in fresh processes, paired round by round.

    Example: starcast benchmark run/checkpoints/step-100000.pt my-model
    """
    from starcast.benchmarks.speed import benchmark_bundle

    click.echo(benchmark_bundle(checkpoint, bundle, BenchmarkOptions(**values)))
