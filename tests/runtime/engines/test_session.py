"""Frames: what an engine is given of a bundle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import EngineOptions, GraphFile
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.session import Frames


class Recorder:
    """An engine that notes how it was asked to open graphs."""

    name, on_card = "recorder", False

    def __init__(self) -> None:
        self.opened: list[tuple[GraphFile, str, str | None]] = []

    def open(self, graph: GraphFile, options: EngineOptions) -> object:
        self.opened.append((graph, options.precision, options.rest))
        return object()


def test_an_engine_learns_the_hash_the_size_and_the_bundle_of_a_graph(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    engine = Recorder()
    frames = Frames(bundle, engine, variant, EngineOptions(precision="bf16"))
    frames.session("mapping.onnx")
    expected = [
        GraphFile(*bundle.graph(name), bundle.graph_bytes(name), tiny_bundle) for name in (variant.file, "mapping.onnx")
    ]
    assert engine.opened == [(expected[0], "fp32", None), (expected[1], "fp32", None)]


def test_the_cards_time_is_asked_for_with_what_a_run_gets_and_most_engines_tell_none(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    images, styles = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, bundle.manifest.condition.size), np.float32)
    assert Frames(bundle, OnnxRuntime(), variant, EngineOptions()).card_time(images, styles) is None

    class Telling(Recorder):
        def open(self, graph, options):
            return SimpleNamespace(card_time=lambda feeds: sorted(feeds.items(), key=lambda one: one[0]))

    assert Frames(bundle, Telling(), variant, EngineOptions()).card_time(images, styles) == [
        ("image", images), ("style", styles),
    ]  # fmt: skip


def test_a_variant_of_one_style_refuses_several_for_pictures_that_stay_on_the_card(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    variant = msgspec.structs.replace(bundle.manifest.variants[0], one_style=True)

    class OnCard:
        __cuda_array_interface__: ClassVar = {}

    frames = Frames(bundle, Recorder(), variant, EngineOptions())
    with pytest.raises(ValueError, match="takes one style at a time: hand over pictures on the card style by style"):
        frames(OnCard(), np.zeros((2, bundle.manifest.condition.size), np.float32))


def test_what_stands_beside_codes_is_said_of_the_frame_graph_alone(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    variant = msgspec.structs.replace(bundle.manifest.variants[0], precision="int8", rest="bf16")
    engine = Recorder()
    Frames(bundle, engine, variant, EngineOptions()).session("mapping.onnx")
    assert [kinds for _, *kinds in engine.opened] == [["int8", "bf16"], ["fp32", None]]
