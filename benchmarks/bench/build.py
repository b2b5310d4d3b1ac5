"""Build the GPU engines of a bundle that was generated for a measurement: no user can have built them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starcast.benchmarks.bench.inputs import size_text
from starcast.errors import StarcastError
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import Variant
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions


def build_engines_for(
    engine: str, variant: Variant, bundle: Bundle, size: tuple[int, int], cache: Path, progress: Callable[[str], None]
) -> str | None:
    """Build a variant's engines into `cache`. Returns why that failed, or None."""
    source = bundle.manifest.source
    own = source is not None and size == (source.height, source.width)
    options = BuildOptions(
        engine=engine, precision=variant.precision, form=variant.form_name, size=None if own else size_text(size)
    )
    try:
        failed = build_engines(bundle.path, options, progress=progress, folder=cache).failed
    except StarcastError as error:
        return str(error)
    return failed[0] if failed else None
