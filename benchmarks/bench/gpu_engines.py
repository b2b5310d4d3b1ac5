"""Engines of a bundle that was made to be measured: nobody else can have built them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from starcast.benchmarks.bench.gpu_rows import key_of, never_run, wanted_variants
from starcast.benchmarks.bench.rows import engine_of
from starcast.errors import StarcastError
from starcast.runtime.bundle import Bundle
from starcast.runtime.nvidia.gpu import current_gpu
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS


def build_missing(
    bundle: Bundle, size: tuple[int, int], keys: Collection[str], cache: Path, say: Callable[[str], None]
) -> dict[str, str]:
    """Build into a cache what rows with these keys lack to run here; gives why, by key, where that failed."""
    gpu = current_gpu()
    failed = {}
    for name in FLAVOURS:
        engine = engine_of(name)
        for variant in wanted_variants(bundle, engine):
            key = key_of(engine, variant)
            if key not in keys or never_run(engine, variant, size, gpu) is not None:
                continue
            options = BuildOptions(
                engine=name, precision=variant.precision, form=variant.form_name, size=_other_than_own(size, bundle)
            )
            say(f"building engines for {key}")
            try:
                reasons = build_engines(bundle.path, options, say=say, folder=cache).failed
            except StarcastError as error:
                reasons = (str(error),)
            if reasons:
                failed[key] = reasons[0]
    return failed


def _other_than_own(size: tuple[int, int], bundle: Bundle) -> str | None:
    """(height, width) as `build` takes it; None where it is the bundle's."""
    source = bundle.manifest.source
    own = source is not None and size == (source.height, source.width)
    return None if own else f"{size[1]}x{size[0]}"
