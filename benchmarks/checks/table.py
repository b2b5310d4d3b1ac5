"""All checks, in the order in which they run: the most telling for their time come first, as a run may be cut short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from starcast.benchmarks.bench.rows import TORCH
from starcast.benchmarks.checks.check import Check
from starcast.benchmarks.checks.checkerboard import checkerboard_engine, checkerboard_kernel
from starcast.benchmarks.checks.leaks import leaks
from starcast.benchmarks.checks.marked_tests import run_marked_tests
from starcast.benchmarks.checks.parity import PREPARE, parity, prepare_bundle
from starcast.benchmarks.checks.probe import accepts
from starcast.benchmarks.checks.sanitizer import sanitize_kernel
from starcast.export.precisions import PRECISIONS
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

UNCODED = tuple(name for name, precision in PRECISIONS.items() if precision.codes is None)
TARGETS: tuple[str | None, ...] = ("current", None, "sm80", "sm86", "sm89", "sm120")  # None: the library's own


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
