"""The worker's side of a row: load a model, and get a function from pictures to pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.rows import PYTORCH, Row

Images = NDArray[np.uint8]
Run = Callable[[Images], Images]  # uint8 [N, H, W, 3] in and out, with the style that was given


def open_row(row: Row, style: NDArray[np.float32]) -> Run:
    """Load a row's model for a style [1, S]."""
    if row.engine == PYTORCH:
        return _open_pytorch(row, style)
    return _open_bundle(row, style) if row.ours else _open_graph(row, style)


def _open_bundle(row: Row, style: NDArray[np.float32]) -> Run:
    from starcast.runtime.backends.base import EngineOptions
    from starcast.runtime.backends.choose import BACKENDS
    from starcast.runtime.bundle import open_bundle
    from starcast.runtime.frames import Frames

    bundle = open_bundle(row.source)
    variant = next(
        variant
        for variant in bundle.manifest.variants
        if (variant.file, variant.precision) == (row.variant, row.precision)
    )
    frames = Frames(bundle, BACKENDS[row.engine], variant, EngineOptions(threads=row.threads))
    return lambda images: frames(images, style)


def _open_graph(row: Row, style: NDArray[np.float32]) -> Run:
    """A graph that nothing of ours has touched, with our settings of the engine: the graph is what is compared."""
    from starcast.runtime.backends.base import EngineOptions, GraphFile
    from starcast.runtime.backends.choose import BACKENDS

    options = EngineOptions(threads=row.threads, precision=row.precision)
    session = BACKENDS[row.engine].open(GraphFile(row.source), options)

    def run(images: Images) -> Images:
        translated: Images = session.run({"image": images, "style": style})
        return translated

    return run


def _open_pytorch(row: Row, style: NDArray[np.float32]) -> Run:
    import torch

    from starcast.train.checkpoint import averaged_networks, read_checkpoint

    torch.set_num_threads(row.threads)
    memory_format = torch.contiguous_format if row.form == "eager" else torch.channels_last
    networks = averaged_networks(read_checkpoint(row.source))
    generator: Any = networks.generator.to(memory_format=memory_format)
    if row.form == "compiled":
        generator = torch.compile(generator)
    styles = torch.from_numpy(style)
    half = row.precision == "bf16"

    @torch.inference_mode()
    def run(images: Images) -> Images:
        source = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            levels = generator(source.contiguous(memory_format=memory_format), styles.expand(len(images), -1))
        levels = levels.float() * 127.5 + 127.5
        translated: Images = levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        return translated

    return run
