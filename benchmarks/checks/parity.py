"""Whether an engine's translations on the GPU are PyTorch's, in each precision."""

from __future__ import annotations

from pathlib import Path

from starcast.benchmarks.bench.rows import TORCH
from starcast.benchmarks.checks.check import Figures, NotRunError, WrongError, require_engine, require_torch_gpu
from starcast.errors import MissingExtraError, OptionError, VariantMissingError

PREPARE = "prepare: a bundle"


def prepare_bundle(folder: Path) -> Figures:
    """Export a bundle of random weights, for the parity checks."""
    from starcast.benchmarks.checks.comparison import export_random_bundle  # torch may be missing here

    export_random_bundle(folder)
    return {}


def parity(engine: str, precision: str, folder: Path, *, plugin: bool = False) -> Figures:
    """Compare translations with PyTorch's in float32, within the export's gate for the precision."""
    from starcast.benchmarks.checks import comparison

    if engine == TORCH:
        require_torch_gpu()  # without a GPU this engine would run on the CPU
    else:
        require_engine(engine)
    if not (folder / comparison.BUNDLE).is_dir():
        raise NotRunError(f"there is no bundle to compare with: see why `{PREPARE}` made none")
    try:
        compared = comparison.compare(engine, precision, folder, plugin=plugin)
    except (OptionError, MissingExtraError, VariantMissingError) as error:  # the GPU or the bundle lacks something
        raise NotRunError(str(error)) from error
    if not compared.passed:
        raise WrongError(compared.sentence)
    return compared.figures
