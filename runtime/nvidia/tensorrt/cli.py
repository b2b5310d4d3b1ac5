"""The commands that build TensorRT engines and look after those that are built: `build` and `engines`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from
from starcast.path_types import LocalPath
from starcast.runtime.cli import run
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions


@click.command("build")
@click.argument("bundle", type=LocalPath())
@options_from(BuildOptions)
def build(bundle: Path, **values: Any) -> int:
    """Build TensorRT engines from a bundle, for this GPU or for named ones.

    The bundle needs a graph for TensorRT (`starcast export … --for tensorrt --precisions fp16`). Engines go to a cache
    that only you can read. An engine that still fits is not built again. With --gpu, no GPU is needed.

    \b
    Examples: starcast build my-model
              starcast build my-model --gpu sm86,sm89,sm120
              starcast build my-model --precision int8 --batch-range 1:8:16 --size-range 128x128:256x256:512x512
    """
    from starcast.runtime.nvidia.tensorrt.build import build_engines

    return run(build_engines, bundle, BuildOptions(**values))


@click.group("engines")
def engines() -> None:
    """List or remove the TensorRT engines built on this machine.

    Engines live in your cache, never in a bundle. An engine is executable code, so starcast runs only those built on
    this machine.
    """


@engines.command("list")
def list_engines() -> None:
    """List every engine: its bundle, its GPUs and sizes, and whether it fits this machine."""
    from starcast.runtime.nvidia.tensorrt.engines import table

    click.echo(table())


@engines.command("remove")
@click.argument("keys", metavar="KEY…", nargs=-1)
@click.option("--bundle", metavar="BUNDLE", help="Remove all engines of this bundle, given by name or path.")
def remove_engines(keys: tuple[str, ...], bundle: str | None) -> None:
    """Remove engines by key, or all engines of a bundle. The first digits of a key are enough."""
    from starcast.runtime.nvidia.tensorrt.engines import remove

    click.echo(remove(keys, bundle))


@engines.command("prune")
@click.option("--all", "everything", is_flag=True, help="Remove every engine.")
def prune_engines(everything: bool) -> None:
    """Remove damaged engines, and those of another TensorRT or driver."""
    from starcast.runtime.nvidia.tensorrt.engines import prune

    click.echo(prune(everything))
