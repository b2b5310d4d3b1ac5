"""A variant's session: what it hands to its engine."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from starcast.errors import EngineError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.session import VariantSession


class Recorder:
    """An engine that notes how it was asked to open graphs."""

    name, after_fork = "recorder", "works"

    def __init__(self) -> None:
        self.opened: list[Graph] = []

    def open(self, graph: Graph, options: EngineOptions) -> object:
        self.opened.append(graph)
        return SimpleNamespace(inputs=dict)


def test_an_engine_learns_the_hash_the_size_and_the_bundle_of_a_graph(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    engine = Recorder()
    VariantSession(bundle, engine, variant, EngineOptions()).session("mapping.onnx")
    expected = []
    for name in (variant.file, "mapping.onnx"):
        path, digest = bundle.graph(name)
        expected.append(Graph(path, digest=digest, bytes=bundle.graph_bytes(name), bundle=tiny_bundle))
    assert engine.opened == expected


def test_the_frame_graph_alone_runs_in_the_variants_precisions(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    engine = Recorder()
    half = msgspec.structs.replace(variant, precision="int8", rest="bf16")
    VariantSession(bundle, engine, half, EngineOptions()).session("mapping.onnx")
    assert [(graph.precision, graph.rest) for graph in engine.opened] == [("int8", "bf16"), ("fp32", None)]


def test_a_closed_session_stays_closed(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    session = VariantSession(bundle, OnnxRuntime(), variant, EngineOptions())
    images, styles = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, bundle.manifest.condition.size), np.float32)
    session(images, styles)
    session.close()
    session.close()
    with pytest.raises(EngineError, match=rf"^{re.escape(str(tiny_bundle))} has been closed: open it again$"):
        session(images, styles)


def test_the_gpus_time_is_asked_for_with_what_a_run_gets_and_most_engines_tell_none(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    images, styles = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, bundle.manifest.condition.size), np.float32)
    assert VariantSession(bundle, OnnxRuntime(), variant, EngineOptions()).gpu_time(images, styles) is None

    class Telling(Recorder):
        def open(self, graph, options):
            return SimpleNamespace(inputs=dict, gpu_time=lambda feeds: sorted(feeds.items(), key=lambda one: one[0]))

    assert VariantSession(bundle, Telling(), variant, EngineOptions()).gpu_time(images, styles) == [
        ("image", images), ("style", styles),
    ]  # fmt: skip


def test_a_variant_of_one_style_refuses_several_for_images_that_stay_on_the_gpu(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    variant = msgspec.structs.replace(bundle.manifest.variants[0], one_style=True)

    class OnGpu:
        __cuda_array_interface__: ClassVar = {}

    frames = VariantSession(bundle, Recorder(), variant, EngineOptions())
    with pytest.raises(ValueError, match="takes one style at a time: hand over images on the GPU style by style"):
        frames(OnGpu(), np.zeros((2, bundle.manifest.condition.size), np.float32))
