"""Load a row's model in its worker process: the result is a run, from images to translations."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.loaded_row import CpuRun, Images, Run, Translate
from starcast.benchmarks.bench.rows import PYTORCH, Row, engine_of
from starcast.runtime.engines.session import VariantSession


def open_row(row: Row, style: NDArray[np.float32]) -> Run:
    """Load a row's model for a style [1, S]."""
    if row.engine == PYTORCH:
        from starcast.benchmarks.bench.pytorch import open_pytorch  # only these rows pay for importing torch

        return open_pytorch(row, style)
    if row.device == "cpu":
        return CpuRun(open_translate(row, style))
    from starcast.benchmarks.bench.parts import EngineRun

    if row.ours:
        frames = open_variant(row)
        return EngineRun(
            lambda images: frames(images, style), row.method, on_gpu=frames.engine.on_gpu,
            gpu_time=lambda images: frames.gpu_time(images, style),
        )  # fmt: skip
    return EngineRun(open_graph(row, style), row.method, on_gpu=row.engine == "cuda")


def open_translate(row: Row, style: NDArray[np.float32]) -> Translate:
    """The same as a function, for a row of an engine."""
    if not row.ours:
        return open_graph(row, style)
    frames = open_variant(row)
    return lambda images: frames(images, style)


def open_variant(row: Row) -> VariantSession:
    """The bundle's variant that a row of ours runs."""
    from starcast.runtime.bundle import open_bundle
    from starcast.runtime.engines.base import EngineOptions

    bundle = open_bundle(row.source)
    variants = [variant for variant in bundle.manifest.variants if variant.file == row.variant]
    # an engine may convert a float32 graph to a precision that is no variant of the bundle
    variant = next((variant for variant in variants if variant.precision == row.precision), variants[0])
    variant = msgspec.structs.replace(variant, precision=row.precision)
    return VariantSession(bundle, engine_of(row.engine), variant, EngineOptions(threads=row.threads, cache=row.cache))


def open_graph(row: Row, style: NDArray[np.float32]) -> Translate:
    """A graph that starcast has not touched, with our engine settings: what is compared is the graph."""
    from starcast.runtime.engines.base import EngineOptions, Graph

    graph = Graph(row.source, precision=row.precision)
    session = engine_of(row.engine).open(graph, EngineOptions(threads=row.threads))

    def run(images: Images) -> Images:
        translated: Images = session.run({"image": images, "style": style})
        return translated

    return run
