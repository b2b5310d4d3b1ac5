"""`starcast export` and `inspect`: parse, call one function, print. torch and onnx load inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from, out_option
from starcast.config_file import config_option
from starcast.export.options import ExportOptions
from starcast.path_types import ExistingPath, LocalPath
from starcast.utf8 import json_text


def _list_passes(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from starcast.export.passes.forms import list_rewrites

        for line in list_rewrites():
            click.echo(line)
        context.exit()


@click.command("export")
@click.argument("checkpoint", type=ExistingPath())
@out_option("bundle", "the bundle's folder; an existing bundle there is replaced.")
@click.option(
    "--passes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_passes,
    help="List the exact rewrites and exit.",
)
@click.option(
    "--triton",
    "repository",
    metavar="FOLDER",
    type=LocalPath(is_output=True),
    help="Also write the models into this repository of Triton Inference Server; other models in it stay.",
)
@config_option()
@options_from(ExportOptions)
def export(checkpoint: Path, bundle: Path, repository: Path | None, **values: Any) -> None:
    """Turn a checkpoint, ours or official, into a bundle of ONNX graphs.

    Every graph is compared with PyTorch on several images and batch sizes. If one exceeds the tolerance, nothing is
    written.
    CHECKPOINT may also be a run's folder, or an official folder such as expr/checkpoints/afhq: its newest checkpoint
    is exported.

    Example: starcast export run/checkpoints/step-020000.pt -o my-model
    """
    options = ExportOptions(**values)
    from starcast.export.inspect import next_command
    from starcast.export.write import export_bundle
    from starcast.train.checkpoint.folder import choose_checkpoint

    chosen = choose_checkpoint(checkpoint)
    if chosen.note:
        click.echo(chosen.note)
    written = export_bundle(chosen.path, bundle, options, click.echo)
    for variant in written.manifest.variants:
        cost = f"{variant.flop / 1e9:.2f} GFLOP per image, {variant.bytes / 1e6:.1f} MB"
        click.echo(f"{variant.file} in {variant.arithmetic}: {cost}")
    click.echo(f"{bundle} is ready: {next_command(bundle, written.manifest)}")
    if repository is not None:
        from starcast.export.triton import write_repository

        names = write_repository(written, repository)
        click.echo(f"{repository} has the models {', '.join(names)}: tritonserver --model-repository={repository}")


@click.command("inspect")
@click.argument("path", type=ExistingPath())
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Show what a checkpoint or bundle holds, and which engines can run it.

    PATH is a checkpoint, a bundle's folder, a run's folder, or an official folder of checkpoints. A bundle needs no
    PyTorch.

    Example: starcast inspect my-model
    """
    from starcast.export.inspect import facts_of, lines_of

    facts = facts_of(path)
    click.echo(json_text(facts) if as_json else "\n".join(lines_of(facts)))
