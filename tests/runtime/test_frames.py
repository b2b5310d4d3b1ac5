"""Frames: what an engine is given of a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from starcast.runtime.backends import cache
from starcast.runtime.backends.base import EngineOptions
from starcast.runtime.bundle import open_bundle
from starcast.runtime.frames import Frames


class Recorder:
    """An engine that notes how it was asked to open graphs."""

    name = "recorder"

    def __init__(self) -> None:
        self.opened: list[tuple[str, str | None, str]] = []

    def open(self, graph: Path, options: EngineOptions, digest: str | None = None) -> object:
        self.opened.append((graph.name, digest, options.precision))
        return object()


@pytest.mark.parametrize(("spare", "kept"), [(0, True), (1, False)])
def test_a_graph_is_kept_compiled_if_it_is_large_with_its_weights(tiny_bundle, monkeypatch, spare, kept):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    monkeypatch.setattr(cache, "SMALLEST", bundle.graph_bytes(variant.file) + spare)
    engine = Recorder()
    Frames(bundle, engine, variant, EngineOptions())
    digest = bundle.graph(variant.file)[1] if kept else None
    assert engine.opened == [(Path(variant.file).name, digest, "fp32")]
