"""All checks in the order they run: the most informative for their time come first, since a run may be cut short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from starcast.benchmarks.bench.rows import TORCH
from starcast.benchmarks.checks.check import Check, Figures, NotRunError, WrongError, require_engine, require_torch_gpu
from starcast.benchmarks.checks.leaks import leaks
from starcast.benchmarks.checks.probe import accepts, checkerboard_engine, checkerboard_kernel
from starcast.benchmarks.checks.programs import run_marked_tests, sanitize_kernel
from starcast.errors import MissingExtraError, OptionError, VariantMissingError
from starcast.export.precisions import PRECISIONS
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

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


UNCODED = tuple(name for name, precision in PRECISIONS.items() if precision.codes is None)
TARGETS: tuple[str | None, ...] = ("current", None, "sm80", "sm86", "sm89", "sm120")  # None: the library's default


def _parities(engine: str, precisions: Sequence[str], *, plugin: bool = False) -> Iterator[Check]:
    for precision in precisions:
        name = f"parity: {engine} {precision}{', the plugin' if plugin else ''}"
        yield Check(name, partial(parity, engine, precision, plugin=plugin), 1800)


CHECKS: tuple[Check, ...] = (
    Check("pytest -m gpu", run_marked_tests, 1800),
    Check("checkerboard: the Triton kernel", checkerboard_kernel),
    Check(PREPARE, prepare_bundle, 3600),
    *_parities(TORCH, UNCODED),
    Check("compute-sanitizer: the Triton kernel", sanitize_kernel, 1800),
    *_parities("cuda", ("fp32",)),
    *(
        Check(f"accepts: {flavour}{f' for {target}' if target else ''}", partial(accepts, flavour, target))
        for flavour, targets in (("tensorrt-rtx", TARGETS), ("tensorrt", TARGETS[1:2]))
        for target in targets
    ),
    *(Check(f"checkerboard: {flavour} fp16", partial(checkerboard_engine, flavour)) for flavour in FLAVOURS),
    *_parities("tensorrt-rtx", tuple(PRECISIONS)),
    *_parities("tensorrt", tuple(PRECISIONS)),
    *_parities("tensorrt", UNCODED, plugin=True),
    *(Check(f"leaks: {engine}", partial(leaks, engine), 1800) for engine in (TORCH, "cuda", *FLAVOURS)),
)
