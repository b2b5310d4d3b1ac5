"""The worker's side of a row: load a model, and get a function from pictures to pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.rows import PYTORCH, Row, engine_of
from starcast.runtime.engines.session import Frames

Images = NDArray[np.uint8]
Run = Callable[[Images], Images]  # uint8 [N, H, W, 3] in and out, with the style that was given


def open_row(row: Row, style: NDArray[np.float32]) -> Run:
    """Load a row's model for a style [1, S]."""
    if row.engine == PYTORCH:
        return _open_pytorch(row, style)
    if not row.ours:
        return open_graph(row, style)
    frames = opened_frames(row)
    return lambda images: frames(images, style)


def opened_frames(row: Row) -> Frames:
    """The variant of a bundle that a row of ours runs, opened."""
    from starcast.runtime.bundle import open_bundle
    from starcast.runtime.engines.base import EngineOptions
    from starcast.runtime.engines.session import Frames

    bundle = open_bundle(row.source)
    found = [variant for variant in bundle.manifest.variants if variant.file == row.variant]
    # an engine may make a precision of a float32 graph by itself, which is no variant of the bundle
    variant = next((one for one in found if one.precision == row.precision), found[0])
    variant = msgspec.structs.replace(variant, precision=row.precision)
    return Frames(bundle, engine_of(row.engine), variant, EngineOptions(threads=row.threads, cache=row.cache))


def open_graph(row: Row, style: NDArray[np.float32]) -> Run:
    """A graph that nothing of ours has touched, with our settings of the engine: the graph is what is compared."""
    from starcast.runtime.engines.base import EngineOptions, GraphFile

    options = EngineOptions(threads=row.threads, precision=row.precision)
    session = engine_of(row.engine).open(GraphFile(row.source), options)

    def run(images: Images) -> Images:
        translated: Images = session.run({"image": images, "style": style})
        return translated

    return run


def _open_pytorch(row: Row, style: NDArray[np.float32]) -> Run:
    import torch

    from starcast.export.gate.reference import Eager
    from starcast.train.checkpoint.file import averaged_networks, read_checkpoint

    torch.set_num_threads(row.threads)
    memory_format = torch.contiguous_format if row.form == "eager" else torch.channels_last
    networks = averaged_networks(read_checkpoint(row.source))
    generator: Any = networks.generator.to(memory_format=memory_format)
    if row.form == "compiled":
        generator = torch.compile(generator)
    styles = torch.from_numpy(style)
    autocast = torch.bfloat16 if row.precision == "bf16" else None
    eager = Eager(generator, memory_format=memory_format, autocast=autocast)

    @torch.inference_mode()
    def run(images: Images) -> Images:
        translated: Images = eager(torch.from_numpy(images), styles).numpy()
        return translated

    return run
