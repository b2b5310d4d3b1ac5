"""How much memory a variant needs on an engine, and which candidates fit into what may be used or is free.

All are estimates, in bytes. With Python's own 95 MB, they give for the AFHQ generator at 256 px within 3 % the peak
that was measured: OpenVINO 463 MB, ONNX Runtime 465, ncnn 484.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Engine, EngineOptions
from starcast.runtime.engines.candidates import Candidate
from starcast.runtime.variants import Variant

# Bytes per pixel that any image takes: the source and its translation as bytes, and once in float32.
PIXEL = 3 + 3 + 3 * 4
_FLOAT = 4
SHARE = 0.5  # of the free memory that `auto` lets an engine take: while it measures, it holds two


def image_need(bundle: Bundle, engine: Engine, variant: Variant, height: int, width: int) -> float:
    """Memory to make one image of that size, without what the engine holds; a lower bound if the bundle does not
    say."""
    manifest = bundle.manifest
    of_trained = (variant.working or 0) * (height * width) / math.prod(manifest.trained_size)
    noise = 0 if manifest.noise is None else _FLOAT * manifest.noise.size
    extra = _FLOAT * sum(one.channels * one.height * one.width for one in manifest.extra_inputs)
    of_size = max(engine.scratch * of_trained, PIXEL * height * width)
    return of_size + noise + extra * (height * width) / math.prod(manifest.trained_size)


def held_need(bundle: Bundle, engine: Engine, variant: Variant, beside: Iterable[str] = ()) -> int:
    """Memory that the engine holds for the variant, for graphs that are opened beside it, and for those that run on
    every source, such as the landmark network of a face model: their values stay allocated between two sources."""
    makers = bundle.manifest.source_makers
    graphs = {*beside, *(one.graph for one in makers)}
    beside_it = sum(engine.held_beside(bundle, graph) for graph in graphs)
    values = sum(engine.scratch * (one.working or 0) for one in makers)
    return engine.held_memory(bundle, variant) + beside_it + int(values)


def whole_need(
    bundle: Bundle, engine: Engine, variant: Variant, images: int = 1, beside: Iterable[str] = ()
) -> float:  # fmt: skip
    """Memory that the engine holds for the variant and the graphs beside it, and that a batch of images of the trained
    size takes."""
    need = image_need(bundle, engine, variant, *bundle.manifest.trained_size)
    return held_need(bundle, engine, variant, beside) + images * need


def within_limit(bundle: Bundle, candidates: list[Candidate], options: EngineOptions) -> list[Candidate]:
    """The candidates that fit into `options.memory` with one image of the trained size; `options.progress` gets a line
    for each of the others. If none fits, the first whose weights do, for smaller images. Raises EngineError if none
    does. GPU engines have memory of their own."""
    limit = options.memory
    if limit is None or any(one.engine.on_gpu for one in candidates):
        return candidates
    needs = [whole_need(bundle, one.engine, one.variant, beside=options.beside) for one in candidates]
    if min(needs) <= limit:
        return _keep(candidates, needs, limit, f"the {write_gib(limit)} that --memory or the machine allows", options)
    held = [held_need(bundle, one.engine, one.variant, options.beside) for one in candidates]
    least = min(held)
    if least > limit:
        raise EngineError(
            f"{candidates[held.index(least)].engine.name} holds about {write_gib(least)} of memory for {bundle.path}, "
            f"more than the {write_gib(limit)} that --memory or the machine allows: give a higher --memory, or a "
            "smaller model"
        )
    return [one for one, size in zip(candidates, held, strict=True) if size <= limit][:1]


def within_share(bundle: Bundle, candidates: list[Candidate], options: EngineOptions) -> list[Candidate]:
    """The candidates that need at most half of `options.free` for a batch; if none does, the one that needs least.
    `options.progress` gets a line for each of the others."""
    free = options.free
    if free is None or any(one.engine.on_gpu for one in candidates):
        return candidates
    needs = [_batch_need(bundle, one, options) for one in candidates]
    return _keep(candidates, needs, SHARE * free, f"half of the {write_gib(free)} that is free", options)


def fits_share(bundle: Bundle, candidate: Candidate, options: EngineOptions) -> bool:
    """Whether the candidate may be open twice, to be measured: it needs at most half of `options.free`."""
    return options.free is None or _batch_need(bundle, candidate, options) <= SHARE * options.free


def write_gib(size: float) -> str:
    """`0.35 GiB`."""
    return f"{size / 2**30:.2f} GiB"


def _batch_need(bundle: Bundle, one: Candidate, options: EngineOptions) -> float:
    """What a candidate needs for a batch of its usual size."""
    batch = one.engine.best_batch(one.variant.precision)
    return whole_need(bundle, one.engine, one.variant, min(batch, one.variant.max_batch or batch), options.beside)


def _keep(
    candidates: list[Candidate], needs: list[float], most: float, allowed: str, options: EngineOptions
) -> list[Candidate]:
    """The candidates that need at most so much, or the first that needs least. `allowed` says what `most` is."""
    least = needs.index(min(needs))
    kept = []
    for number, (one, need) in enumerate(zip(candidates, needs, strict=True)):
        if need <= most or number == least:
            kept.append(one)
        else:
            options.progress(f"{one.name} is left out: it needs about {write_gib(need)} of memory, more than {allowed}")
    return kept
