"""What needs too much memory is left out or refused, in a line that names the engine and both figures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from starcast.errors import EngineError
from starcast.runtime import translator
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines import registry
from starcast.runtime.engines.base import Engine, EngineOptions, Session
from starcast.runtime.engines.choose import open_variant
from starcast.runtime.engines.memory_needs import whole_need
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.labels import LabelChange
from starcast.runtime.manifest import Classifier, Condition, FileFacts, LabelMaker, LatentMaker, ReferenceMaker
from starcast.runtime.style_requests import StyleRequest, graphs_for

GIB = 2**30


class Weighty(Engine):
    """An engine that holds so many bytes, and needs no more than pixels for an image."""

    after_fork = "works"

    def __init__(self, name: str, held: int | None = None, on_gpu: bool = False, batch: int = 1) -> None:
        self.name = self.extra = name
        self.size, self.on_gpu, self.batch = held, on_gpu, batch
        self.opened = 0

    def absent(self):
        return None

    def version(self) -> str:
        return "1.0"

    def devices(self, graph):
        return {}

    def held_memory(self, bundle, variant) -> int:
        return super().held_memory(bundle, variant) if self.size is None else self.size

    def best_batch(self, precision: str) -> int:
        return self.batch

    def open(self, graph, options):
        self.opened += 1
        return Copying()


class Copying(Session):
    def run(self, feeds):
        return feeds["image"].copy()

    def close(self) -> None:
        pass


@pytest.fixture
def use(monkeypatch, tiny_bundle):
    """A function that installs engines, and returns a bundle of one variant for all of them."""

    def install(*engines: Weighty, **changes: object) -> Bundle:
        monkeypatch.setattr(registry, "ENGINES", {engine.name: engine for engine in engines})
        bundle = open_bundle(tiny_bundle)
        variant = msgspec.structs.replace(
            bundle.manifest.variants[0], engines=tuple(engine.name for engine in engines), **changes
        )
        return Bundle(tiny_bundle, msgspec.structs.replace(bundle.manifest, variants=(variant,)), bundle.sha256)

    return install


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def options(tmp_path, lines):
    """A function that makes options for one thread, whose lines are kept."""
    return lambda **limits: EngineOptions(threads=1, cache=tmp_path / "cache", progress=lines.append, **limits)


def test_an_engine_holds_the_weights_twice_unless_it_says_otherwise(use):
    engine = Weighty("a")
    bundle = use(engine, bytes=1000, working=None)
    assert engine.held_memory(bundle, bundle.manifest.variants[0]) == 2000


def test_the_need_is_what_the_engine_holds_and_the_values_of_each_image(use):
    engine = Weighty("a", held=5000)
    bundle = use(engine, working=100_000)  # at the trained size
    [variant] = bundle.manifest.variants
    assert whole_need(bundle, engine, variant) == pytest.approx(5000 + 2.2 * 100_000)
    assert whole_need(bundle, engine, variant, 4) == pytest.approx(5000 + 4 * 2.2 * 100_000)
    engine.scratch = 4.0
    assert whole_need(bundle, engine, variant) == pytest.approx(5000 + 4.0 * 100_000)


# the generator for AFHQ at 256 px: bytes of its files, of the values that are alive at once, and of its 3x3 kernels in
# ncnn, as they are in the file; and the peaks of whole processes, of which Python takes 95 MB
AFHQ = {"bytes": 133_280_000, "working": 50_498_304}


@pytest.mark.parametrize(("name", "peak"), [("openvino", 463e6), ("onnxruntime", 465e6)])
def test_the_estimate_is_near_what_processes_were_measured_to_take(use, name, peak):
    bundle = use(ENGINES[name], **AFHQ)
    need = whole_need(bundle, ENGINES[name], bundle.manifest.variants[0])
    assert need + 95e6 == pytest.approx(peak, rel=0.05)


def test_ncnns_estimate_is_near_the_measured_peak(use, monkeypatch):
    ncnn = ENGINES["ncnn"]
    small, large = 9 * 512 * 512 * 9 * 4, 18_730_000  # bytes of the 3x3 kernels, on maps to 16 px and on larger ones
    stored = AFHQ["bytes"] - small - large + small * 16 // 9 + large * 4
    monkeypatch.setattr(ncnn, "held_memory", lambda bundle, variant: stored)
    bundle = use(ncnn, **AFHQ)
    assert whole_need(bundle, ncnn, bundle.manifest.variants[0]) + 95e6 == pytest.approx(484e6, rel=0.05)


def test_auto_leaves_out_what_needs_more_than_half_of_the_free_memory(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB), Weighty("light", held=GIB // 4)
    chosen = open_variant(use(heavy, light), options=options(free=GIB * 3 // 2))
    assert (chosen.engine, heavy.opened) == (light, 0)
    assert lines == [
        "heavy plain is left out: it needs about 1.00 GiB of memory, more than half of the 1.50 GiB that is free"
    ]


def test_nothing_is_left_out_while_half_of_the_free_memory_is_enough(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB), Weighty("light", held=GIB // 4)
    open_variant(use(heavy, light), options=options(free=GIB * 5 // 2))
    assert heavy.opened == light.opened == 1
    assert not any("left out" in line for line in lines)


def test_the_one_that_needs_least_remains_however_little_is_free(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB), Weighty("light", held=GIB // 2)
    assert open_variant(use(heavy, light), options=options(free=1000)).engine is light
    assert len(lines) == 1
    lines.clear()
    assert open_variant(use(heavy), options=options(free=1000)).engine is heavy
    assert lines == []


def with_classifier(bundle: Bundle, size: int) -> Bundle:
    """The bundle with a classifier of so many bytes, which is never opened."""
    labels = LabelMaker(names=("a", "b"), classifier=Classifier(graph="classifier.onnx", height=32, width=32))
    condition = msgspec.structs.replace(bundle.manifest.condition, labels=labels)
    files = {**bundle.manifest.files, "classifier.onnx": FileFacts(bytes=size, sha256="0" * 64)}
    return Bundle(
        bundle.path, msgspec.structs.replace(bundle.manifest, condition=condition, files=files), bundle.sha256
    )  # fmt: skip


def test_graphs_that_a_command_opens_beside_the_variant_are_counted_from_the_start(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB // 2), Weighty("light", held=GIB // 8)
    bundle = with_classifier(use(heavy, light), GIB // 4)
    assert whole_need(bundle, light, bundle.manifest.variants[0], beside=["classifier.onnx"]) > GIB // 8 + GIB // 2
    both = options(memory=GIB * 9 // 10, beside=("classifier.onnx",))
    assert open_variant(bundle, options=both).engine is light
    assert lines[0].startswith("heavy plain is left out: it needs about 1.00 GiB of memory, more than the 0.90 GiB")
    lines.clear()
    open_variant(bundle, options=options(memory=GIB * 9 // 10))
    assert not any("left out" in line for line in lines)
    share = options(free=GIB * 3 // 2, beside=("classifier.onnx",))
    assert open_variant(bundle, options=share).engine is light
    with pytest.raises(EngineError, match=r"light holds about 0\.62 GiB of memory"):
        open_variant(bundle, options=options(memory=GIB // 2, beside=("classifier.onnx",)))


def test_a_graph_that_nobody_announced_is_counted_when_it_is_opened(use, options, monkeypatch):
    session = open_variant(with_classifier(use(Weighty("a", held=0)), GIB), options=options(memory=GIB))
    monkeypatch.setattr(session, "_graph", lambda name: None)
    assert session.why_not(32, 32) is None
    session.session("classifier.onnx")
    assert session.why_not(32, 32).startswith("translating it takes about 2.0 GiB of memory")


def test_commands_announce_the_graphs_that_their_styles_need():
    part = {"height": 32, "width": 32}
    condition = Condition(
        size=2, latent=LatentMaker(graph="latent.onnx", size=16),
        reference=ReferenceMaker(graph="reference.onnx", **part),
        labels=LabelMaker(names=("a", "b"), classifier=Classifier(graph="classifier.onnx", **part)),
    )  # fmt: skip
    seed, reference = StyleRequest(domain="a", seed=1), StyleRequest(domain="a", reference=Path("x.png"))
    change = StyleRequest(change=LabelChange(on=("a",)))
    assert graphs_for([seed], condition) == ("latent.onnx",)
    assert graphs_for([reference, seed], condition) == ("latent.onnx", "reference.onnx")
    assert graphs_for([change], condition) == ("classifier.onnx",)
    known = StyleRequest(change=LabelChange(on=("a",)), vector=(1.0, 0.0))
    assert graphs_for([known, StyleRequest(vector=(1.0, 0.0))], condition) == ()


def test_an_engine_that_is_named_is_opened_however_little_is_free(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB), Weighty("light", held=0)
    assert open_variant(use(heavy, light), "heavy", options=options(free=1000)).engine is heavy
    assert lines == []


def test_auto_weighs_the_batch_that_an_engine_usually_gets(use, options, lines):
    many, one = Weighty("many", held=0, batch=4), Weighty("one", held=0)
    bundle = use(many, one, working=10**6)  # 2.2 MB an image
    assert open_variant(bundle, options=options(free=10**7)).engine is one  # 8.8 MB of 5
    assert lines[0].startswith("many plain is left out")
    bundle = use(many, one, working=10**6, max_batch=2)
    open_variant(bundle, options=options(free=10**7))  # 4.4 MB
    assert many.opened == 1


def test_a_gpus_engine_is_not_weighed_against_the_machines_memory(use, options, lines):
    card = Weighty("card", held=GIB, on_gpu=True)
    assert open_variant(use(card, Weighty("a", held=0)), options=options(free=1000, memory=1000)).engine is card
    assert lines == []


def test_a_limit_leaves_out_what_it_cannot_hold_with_one_image(use, options, lines):
    heavy, light = Weighty("heavy", held=GIB), Weighty("light", held=GIB // 4)
    assert open_variant(use(heavy, light), options=options(memory=GIB)).engine is light  # no image beside heavy
    assert lines == [
        "heavy plain is left out: it needs about 1.00 GiB of memory, more than the 1.00 GiB that --memory or the "
        "machine allows"
    ]


@pytest.mark.parametrize("named", ["auto", "heavy"])
def test_a_limit_below_what_every_engine_holds_is_refused(use, options, named):
    heavy = Weighty("heavy", held=GIB)
    with pytest.raises(EngineError, match=r"heavy holds about 1.00 GiB of memory for .*tiny, more than the 0.25 GiB"):
        open_variant(use(heavy), named, options=options(memory=GIB // 4))
    assert heavy.opened == 0


def test_a_limit_below_an_image_of_the_trained_size_leaves_smaller_ones(use, options):
    engine = Weighty("a", held=GIB)
    session = open_variant(use(engine, working=10**6), options=options(memory=GIB + 10**6))
    assert session.why_not(16, 16) is None  # 0.55 MB
    refusal = session.why_not(32, 32)  # 2.2 MB
    assert refusal.startswith("translating it takes about 1.0 GiB of memory")
    assert refusal.endswith(": give a higher --memory")
    assert session.why_not(64, 64).endswith(": make it smaller, or leave out --fit native")


def test_only_without_a_limit_does_a_translator_weigh_the_free_memory(use, monkeypatch, lines, tmp_path):
    bundle = use(Weighty("heavy", held=GIB), Weighty("light", held=0))
    monkeypatch.setattr(translator, "free_memory", lambda: GIB)
    for memory, chosen in ((None, "light"), (8, None)):
        lines.clear()
        with translator.Translator(
            bundle, threads=1, memory=memory, cache=Path(tmp_path), progress=lines.append
        ) as opened:
            assert chosen in (None, opened.backend)
        assert any("heavy plain is left out" in line for line in lines) == (memory is None)
