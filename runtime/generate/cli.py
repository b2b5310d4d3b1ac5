"""The command `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from
from starcast.path_types import LocalPath
from starcast.runtime.cli import run
from starcast.runtime.generate.options import GenerateOptions


@click.command("generate")
@click.argument("bundle", type=LocalPath())
@options_from(GenerateOptions)
def generate(bundle: Path, **values: Any) -> int:
    """Generate images from seeds with a model that needs no source, such as StyleGAN2.

    Seed 7 becomes OUT/seed7.png; the mix 3:7 becomes OUT/mix3-7.png. With --grid, the images go into OUT/grid.png
    instead, row by row. OUT/truncation_base.png shows the mean style, which --psi 0 gives. Run the command again to
    resume: finished files are skipped. OUT/starcast.json records how the images were made.

    \b
    Examples: starcast generate my-generator -o faces/ --seeds 0-15 --psi 0.7
              starcast generate my-generator -o sheet.png --seeds 0-15 --psi 0.7 --grid 4x4
              starcast generate my-generator -o mixes/ --mix 0-3:4-7 --layer 3 --grid 4x4 --each
    """
    from starcast.runtime.generate.run import generate_all

    return run(generate_all, bundle, GenerateOptions(**values))
