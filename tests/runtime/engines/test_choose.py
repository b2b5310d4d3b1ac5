from __future__ import annotations

import importlib.metadata
import itertools
import sys
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from msgspec.structs import replace

from starcast.errors import EngineError, MissingExtraError, OptionError, VariantMissingError, VideoError
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines import choose, registry, speed_watch, verdicts, workload
from starcast.runtime.engines.base import Absence, Engine, EngineOptions, Session
from starcast.runtime.engines.candidates import ORDER, Candidate, list_candidates
from starcast.runtime.engines.choose import open_variant, recall_choice
from starcast.runtime.engines.contest import contest
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.engines.workload import Work
from starcast.runtime.manifest import ExtraInput
from starcast.runtime.options import PRECISIONS


class Fake(Engine):
    """An engine that is here or not. Its sessions take `run_s` seconds of the clock `now`."""

    now = 0.0

    def __init__(
        self, name: str, absent: str | None = None, pip_helps: bool = True, run_s: float = 0.1, refuses: bool = False,
        on_gpu: bool = False,
        unready: str | None = None, runs_also: tuple[str, ...] = (), converts: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.name, self.extra = name, f"extra-{name}"
        self._absent = None if absent is None else Absence(absent, pip_helps)
        self.on_gpu, self.unready, self.runs_also, self.converts = on_gpu, unready, runs_also, converts
        self.run_s, self.refuses = run_s, refuses
        self.opened: list[tuple[str, str]] = []  # file, precision
        self.release = "1.0"

    def absent(self) -> Absence | None:
        return self._absent

    def why_unsupported(self, variant) -> str | None:
        return None if {self.name, *self.runs_also} & set(variant.engines) else "not made for it"

    def why_not_ready(self, bundle, variant, options) -> str | None:
        return self.unready

    def version(self) -> str:
        return self.release

    def devices(self, graph):
        return {}

    def open(self, graph, options):
        if self.refuses:
            raise EngineError(f"{graph.path.name} is refused by {self.name}")
        self.opened.append((graph.path.name, graph.precision))
        return FakeSession(self.run_s)


class FakeSession(Session):
    """Gives the pictures back."""

    def __init__(self, run_s: float) -> None:
        self.run_s = run_s

    def run(self, feeds):
        Fake.now += self.run_s
        return feeds["image"].copy()

    def close(self) -> None:
        self.run_s = None


@pytest.fixture
def engines(monkeypatch):
    def use(*engines: Fake) -> None:
        monkeypatch.setattr(registry, "ENGINES", {engine.name: engine for engine in engines})
        monkeypatch.setattr(choose, "contest", partial(contest, clock=lambda: Fake.now))
        for module in (workload, speed_watch):
            monkeypatch.setattr(module, "clock", lambda: Fake.now)

    return use


@pytest.fixture
def bundle(tiny_bundle) -> Bundle:
    return open_bundle(tiny_bundle)


def _with(
    bundle: Bundle, *variants: tuple[str, tuple[str, ...], str], forms: tuple[str, ...] = ("plain",) * 9
) -> Bundle:
    [known] = bundle.manifest.variants
    made = tuple(
        replace(known, file=file, engines=backends, precision=precision, form=form)
        for (file, backends, precision), form in zip(variants, forms, strict=False)
    )
    return Bundle(Path("my-model"), replace(bundle.manifest, variants=made), bundle.sha256)


def _pairs(found: list[Candidate]) -> list[str]:
    return [f"{one.engine.name} {one.variant.file}" for one in found]


def test_the_engines_are_in_the_order_of_preference():
    assert list(ENGINES)[:6] == ["tensorrt", "tensorrt-rtx", "cuda", "openvino", "ncnn", "onnxruntime"]
    assert all(backend.name == name for name, backend in ENGINES.items())


def test_candidates_are_the_engines_that_are_here_in_their_order_with_what_they_run(engines, bundle):
    made = _with(bundle, ("x.onnx", ("c", "b"), "fp32"), ("y.onnx", ("a",), "fp32"))
    engines(Fake("a", "not installed"), Fake("b"), Fake("c"))
    assert _pairs(list_candidates(made)) == ["b x.onnx", "c x.onnx"]
    engines(Fake("a"), Fake("b"))
    assert _pairs(list_candidates(made)) == ["a y.onnx", "b x.onnx"]


def test_a_named_engine_gets_its_own_variant_of_the_precision(engines, bundle):
    engines(Fake("a"), Fake("b"))
    made = _with(bundle, ("x.onnx", ("a",), "fp32"), ("y.onnx", ("b",), "int8"), ("z.onnx", ("a", "b"), "fp32"))
    assert _pairs(list_candidates(made, "b")) == ["b z.onnx"]
    assert _pairs(list_candidates(made, "b", "int8")) == ["b y.onnx"]


def test_each_engines_first_variant_comes_before_any_engines_second(engines, bundle):
    engines(Fake("a"), Fake("b"))
    made = _with(bundle, ("1.onnx", ("a", "b"), "fp32"), ("2.onnx", ("a",), "fp32"), ("3.onnx", ("b",), "fp32"))
    assert _pairs(list_candidates(made)) == ["a 1.onnx", "b 1.onnx", "a 2.onnx", "b 3.onnx"]


def test_other_precisions_are_candidates_only_for_precision_auto_and_after_the_exact_ones(engines, bundle):
    engines(Fake("a"), Fake("b"))
    made = _with(
        bundle, ("1.onnx", ("a",), "bf16"), ("2.onnx", ("a", "b"), "int8"), ("3.onnx", ("a", "b"), "fp32"),
        ("4.onnx", ("a",), "fp16"), ("5.onnx", ("b",), "fp8"),
    )  # fmt: skip
    assert _pairs(list_candidates(made)) == ["a 3.onnx", "b 3.onnx"]
    assert [pair.split(".")[0] for pair in _pairs(list_candidates(made, "auto", "auto"))] == [
        "a 3", "b 3", "a 4", "a 2", "b 2", "b 5", "a 1",
    ]  # fmt: skip


def test_a_form_that_is_asked_for_is_the_only_one(engines, bundle):
    engines(Fake("a"))
    made = _with(bundle, ("1.onnx", ("a",), "fp32"), ("2.onnx", ("a",), "fp32"), forms=("taps9", "phases"))
    assert _pairs(list_candidates(made, form="phases")) == ["a 2.onnx"]
    with pytest.raises(VariantMissingError, match=r"no variant of the form taps16 \(it has phases, taps9\)"):
        list_candidates(made, form="taps16")


def test_an_engine_that_is_not_installed_is_named_with_the_line_that_installs_it(engines, bundle):
    engines(Fake("a"), Fake("b", "not installed"))
    with pytest.raises(
        MissingExtraError, match=r"b cannot be used \(not installed\): pip install 'starcast\[extra-b\]'"
    ):
        list_candidates(_with(bundle, ("x.onnx", ("b",), "fp32")), "b")


def test_without_any_engine_every_line_is_named(engines, bundle):
    engines(Fake("a", "not installed"), Fake("b", "not installed"))
    with pytest.raises(
        MissingExtraError, match=r"no engine is installed .*'starcast\[extra-a\]' or pip install 'starcast\[extra-b\]'"
    ):
        list_candidates(_with(bundle, ("x.onnx", ("a",), "fp32")))


def test_an_unknown_engine_is_answered_with_the_known_ones(bundle):
    with pytest.raises(
        OptionError,
        match="--backend is 'tpu': give one of auto, tensorrt, .*, onnxruntime, .*, torch",
    ):
        list_candidates(bundle, "tpu")


@pytest.mark.parametrize(("backend", "precision", "words"), [
    ("auto", "fp16", r"my-model has no fp16 variant \(it has fp32, int8\): give --precision, .*starcast export"),
    ("a", "int8", r"my-model has no int8 variant for a: give another --backend"),
    ("auto", "fp32", r"my-model has fp32 graphs for c, which are not installed"),
])  # fmt: skip
def test_a_variant_that_is_not_there_is_named_with_what_is(engines, bundle, backend, precision, words):
    engines(Fake("a"), Fake("b"))
    made = _with(bundle, ("x.onnx", ("c",), "fp32"), ("y.onnx", ("b",), "int8"))
    with pytest.raises(VariantMissingError, match=words):
        list_candidates(made, backend, precision)


def test_a_variant_that_the_cpu_cannot_run_is_told_with_the_engines_reason(engines, bundle):
    lacking = Fake("a")
    lacking.why_unsupported = lambda variant: "this processor has no bfloat16 instructions"
    engines(lacking, Fake("b"))
    made = _with(bundle, ("x.onnx", ("a",), "bf16"))
    for backend in ("a", "auto"):
        with pytest.raises(VariantMissingError, match=r"does not run in bf16 here \(this processor has no bfloat16"):
            list_candidates(made, backend, "bf16")


def test_an_engine_that_a_bundle_has_nothing_for_is_not_even_asked(engines, bundle):
    class Unasked(Fake):
        def absent(self) -> str | None:
            raise AssertionError("imported for nothing")

    engines(Unasked("a"), Fake("b"))
    assert _pairs(list_candidates(_with(bundle, ("x.onnx", ("b",), "fp32")))) == ["b x.onnx"]


def test_vulkan_is_taken_only_where_it_is_named(engines, bundle):
    engines(Fake("a"), Fake("ncnn-vulkan"))
    made = _with(bundle, ("x.onnx", ("a", "ncnn-vulkan"), "fp32"))
    assert _pairs(list_candidates(made)) == ["a x.onnx"]
    assert _pairs(list_candidates(made, "ncnn-vulkan")) == ["ncnn-vulkan x.onnx"]


def test_a_bundle_without_any_variant_says_so(engines, bundle):
    engines(Fake("a"))
    with pytest.raises(VariantMissingError, match="it has none at all"):
        list_candidates(_with(bundle))


@pytest.fixture
def measurable(bundle, tmp_path):
    """A bundle of one variant for engines a, b and c, whose file is there; and where to keep what is measured."""
    [known] = bundle.manifest.variants
    variants = (replace(known, engines=("a", "b", "c")),)
    made = Bundle(bundle.path, replace(bundle.manifest, variants=variants), bundle.sha256)
    return made, EngineOptions(threads=1, cache=tmp_path / "cache")


def test_the_fastest_engine_is_measured_once_and_both_lines_say_so(engines, measurable):
    bundle, options = measurable
    a, b = Fake("a", run_s=0.3), Fake("b", run_s=0.2)
    engines(a, b)
    lines: list[str] = []
    assert recall_choice(bundle, options=options) is None
    frames = open_variant(bundle, options=replace(options, progress=lines.append))
    assert frames.engine is b
    assert lines == [
        "measuring 2 combinations of engine and variant, once on this machine (up to 8 s)…",
        "b plain is the fastest here: 200 ms an image (a plain 300); --remeasure measures again",
    ]
    assert recall_choice(bundle, options=options).winner.name == "b plain"
    again = open_variant(bundle, options=replace(options, progress=lines.append))
    assert again.engine is b
    assert len(lines) == 2
    assert len(a.opened) == 1


def test_what_was_opened_to_measure_goes_on(engines, measurable):
    bundle, options = measurable
    b = Fake("b", run_s=0.2)
    engines(Fake("a", run_s=0.3), b)
    frames = open_variant(bundle, options=options)
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(frames(pictures, np.zeros((1, 8), np.float32)), pictures)
    assert len(b.opened) == 1


def test_one_candidate_is_not_measured(engines, measurable):
    bundle, options = measurable
    lines: list[str] = []
    engines(Fake("a"), Fake("b", "not installed"))
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "a"
    assert not lines
    assert not verdicts.folder(options.cache).exists()


def test_a_named_engine_and_precision_are_not_measured(engines, measurable):
    bundle, options = measurable
    a, b = Fake("a", run_s=0.1), Fake("b", run_s=0.2)
    engines(a, b)
    assert open_variant(bundle, "b", options=options).engine is b
    assert not a.opened


@pytest.mark.parametrize("change", ["threads", "version", "engine", "bundle"])
def test_whatever_may_change_the_answer_asks_again(engines, measurable, change):
    bundle, options = measurable
    a, b, c = Fake("a", run_s=0.3), Fake("b", run_s=0.2), Fake("c", run_s=0.1)
    engines(a, b)
    lines: list[str] = []
    open_variant(bundle, options=replace(options, progress=lines.append))
    if change == "threads":
        options = EngineOptions(threads=2, cache=options.cache)
    elif change == "version":
        a.release = "1.1"
    elif change == "engine":
        engines(a, b, c)
    else:
        bundle = Bundle(bundle.path, bundle.manifest, "f" * 64)
    open_variant(bundle, options=replace(options, progress=lines.append))
    assert sum(line.startswith("measuring") for line in lines) == 2


def test_an_engine_that_refuses_is_left_out_with_its_sentence(engines, measurable):
    bundle, options = measurable
    engines(Fake("a", refuses=True), Fake("b"), Fake("c", run_s=0.2))
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "b"
    assert lines[1] == "a plain is left out: plain-fp32.onnx is refused by a"


def test_what_there_was_no_time_for_is_measured_at_one_more_start_and_then_left_at_that(engines, measurable):
    bundle, options = measurable
    a, b = Fake("a", run_s=3), Fake("b", run_s=1)
    engines(a, b)
    lines: list[str] = []
    for _ in range(3):
        assert open_variant(bundle, options=replace(options, progress=lines.append)).engine is a
    assert (
        lines
        == [
            "measuring 2 combinations of engine and variant, once on this machine (up to 8 s)…",
            "b plain is left out: not within 8 s",
            "a plain is the fastest here: 3000 ms an image; --remeasure measures again",
        ]
        * 2
    )
    assert not b.opened


def test_a_winner_that_no_longer_opens_is_measured_again(engines, measurable):
    bundle, options = measurable
    b = Fake("b", run_s=0.05)
    engines(Fake("a"), b, Fake("c", run_s=0.2))
    open_variant(bundle, options=options)
    b.refuses = True
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "a"
    assert "b plain was the fastest, but can no longer be opened" in lines[0]


def test_a_variant_of_another_precision_is_opened_with_it_and_styles_stay_exact(engines, measurable):
    bundle, options = measurable
    [known] = bundle.manifest.variants
    variants = (known, replace(known, precision="bf16", engines=("a",)))
    bundle = Bundle(bundle.path, replace(bundle.manifest, variants=variants), bundle.sha256)
    a = Fake("a")
    engines(a)
    frames = open_variant(bundle, precision="bf16", options=options)
    frames.session("mapping.onnx")
    assert a.opened == [("plain-fp32.onnx", "bf16"), ("mapping.onnx", "fp32")]


LINE = "my-model has no TensorRT engine for this machine: `starcast build my-model` builds one"


@pytest.fixture
def carded(bundle, tmp_path):
    """A bundle for engines `card`, `other` and the processor's a and b, whose file is there."""
    [known] = bundle.manifest.variants
    variants = (replace(known, engines=("a", "b", "card", "other")),)
    made = Bundle(bundle.path, replace(bundle.manifest, variants=variants), bundle.sha256)
    return made, EngineOptions(threads=1, cache=tmp_path / "cache")


def test_a_gpus_engine_that_is_ready_wins_and_nothing_else_is_opened(engines, carded):
    bundle, options = carded
    card, a, b = Fake("card", on_gpu=True), Fake("a"), Fake("b")
    engines(card, Fake("other", on_gpu=True), a, b)
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine is card
    assert lines == []
    assert not a.opened
    assert not b.opened


def test_one_that_has_to_be_built_is_passed_over_and_its_line_said_once(engines, carded):
    bundle, options = carded
    engines(Fake("card", on_gpu=True, unready=LINE), Fake("other", on_gpu=True, unready="more"), Fake("a"))
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "a"
    assert lines == [LINE]


def test_the_next_gpu_engine_is_taken_before_the_processor(engines, carded):
    bundle, options = carded
    engines(
        Fake("card", on_gpu=True, unready=LINE),
        Fake("other", on_gpu=True),
        Fake("a"),
        Fake("b"),
    )
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "other"
    assert lines == [LINE]


def test_a_gpu_engine_that_does_not_open_leaves_the_processor(engines, carded):
    bundle, options = carded
    engines(Fake("card", on_gpu=True, refuses=True), Fake("a"))
    lines: list[str] = []
    assert open_variant(bundle, options=replace(options, progress=lines.append)).engine.name == "a"
    assert lines == ["card is left out: plain-fp32.onnx is refused by card"]


def test_where_nothing_else_runs_it_the_line_is_the_error(engines, carded):
    bundle, options = carded
    engines(Fake("card", on_gpu=True, unready=LINE))
    with pytest.raises(EngineError, match="`starcast build my-model` builds one"):
        open_variant(bundle, options=options)


def test_so_it_is_for_an_engine_that_is_named(engines, carded):
    bundle, options = carded
    engines(Fake("card", on_gpu=True, unready=LINE), Fake("a"))
    with pytest.raises(EngineError, match="`starcast build my-model` builds one"):
        open_variant(bundle, "card", options=options)


def test_a_named_engine_takes_its_first_variant_that_is_ready(engines, carded):
    bundle, options = carded
    [known] = bundle.manifest.variants
    twins = (known, replace(known, form="phases"))
    bundle = Bundle(bundle.path, replace(bundle.manifest, variants=twins), bundle.sha256)
    card = Fake("card", on_gpu=True)
    card.why_not_ready = lambda bundle, variant, options: LINE if variant.form == "plain" else None
    engines(card)
    assert open_variant(bundle, "card", options=options).variant.form == "phases"


def test_the_variants_of_one_gpu_engine_are_measured_against_each_other_only(engines, carded):
    bundle, options = carded
    [known] = bundle.manifest.variants
    half = replace(known, engines=("card",), precision="fp16")
    bundle = Bundle(bundle.path, replace(bundle.manifest, variants=(known, half)), bundle.sha256)
    a = Fake("a", run_s=0.01)
    engines(Fake("card", on_gpu=True), a)
    lines: list[str] = []
    open_variant(bundle, "auto", "auto", options=replace(options, progress=lines.append))
    assert lines[0].startswith("measuring 2 combinations")
    assert not a.opened
    assert recall_choice(bundle, "auto", options=options).winner.name == "card plain"


def test_an_engine_runs_what_was_made_for_another_where_it_says_so(engines, bundle):
    engines(Fake("cuda", on_gpu=True, runs_also=("a",)), Fake("a"))
    assert _pairs(list_candidates(_with(bundle, ("x.onnx", ("a",), "fp32")))) == ["cuda x.onnx", "a x.onnx"]


@pytest.mark.parametrize(
    ("absent", "pip_helps", "line"),
    [
        ("installed, but the NVIDIA driver shows no GPU", False, ""),
        ("installed, but version 1.0 is too old", True, ": pip install 'starcast[extra-gpu]'"),
    ],
)
def test_a_line_for_pip_stands_only_where_pip_helps(engines, bundle, absent, pip_helps, line):
    engines(Fake("gpu", absent, pip_helps))
    with pytest.raises(MissingExtraError) as caught:
        list_candidates(_with(bundle, ("x.onnx", ("gpu",), "fp32")), "gpu")
    assert str(caught.value) == f"gpu cannot be used ({absent}){line}"


def test_an_engine_of_another_package_is_loaded_only_when_it_is_named(engines, bundle, monkeypatch):
    module = ModuleType("outside_engine")
    module.Outside = lambda: Fake("outside", on_gpu=True, runs_also=("a",))
    entry = EntryPoint("outside", "outside_engine:Outside", registry.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [entry])
    made = _with(bundle, ("x.onnx", ("a",), "fp32"))
    engines(Fake("a"))
    assert _pairs(list_candidates(made)) == ["a x.onnx"]
    monkeypatch.setitem(sys.modules, "outside_engine", None)
    with pytest.raises(MissingExtraError, match=r"outside cannot be loaded \(.*outside_engine.*\): install .* again"):
        list_candidates(made, "outside")
    monkeypatch.setitem(sys.modules, "outside_engine", module)
    assert _pairs(list_candidates(made, "outside")) == ["outside x.onnx"]


def test_the_torch_engine_is_registered_by_an_entry_point():
    [entry] = entry_points(group=registry.GROUP, name="torch")
    assert registry.find_engine("torch").name == "torch"
    assert type(registry.find_engine("torch")) is entry.load()


def test_an_engine_that_converts_takes_the_float32_variants_for_other_precisions(engines, bundle):
    engines(Fake("a", converts=("fp16",)))
    made = _with(bundle, ("x.onnx", ("a",), "fp32"), ("y.onnx", ("a",), "int8"))
    [found] = list_candidates(made, "a", "fp16")
    assert (found.variant.file, found.variant.precision, found.name) == ("x.onnx", "fp16", "a plain fp16")
    assert _pairs(list_candidates(made, "a", "int8")) == ["a y.onnx"]
    with pytest.raises(VariantMissingError, match="has no fp16 variant"):
        list_candidates(made, "auto", "fp16")


def test_every_precision_has_a_place_among_those_that_auto_measures():
    assert set(ORDER) == set(PRECISIONS)


class Crowded(Fake):
    """An engine whose runs take `beside_s` on more than half of the threads while other threads are at work."""

    busy = False

    def __init__(self, name: str, run_s: float, beside_s: float) -> None:
        super().__init__(name, run_s=run_s)
        self.beside_s = beside_s
        self.threads: list[int | None] = []

    def open(self, graph, options):
        self.threads.append(options.count_threads())
        session = FakeSession(0.0)
        whole = (options.count_threads() or 0) > 1

        def run(feeds):
            Fake.now += self.beside_s if Crowded.busy and whole else self.run_s
            return feeds["image"].copy()

        session.run = run
        return session


def _film(run, batch):
    """Work that runs beside other threads and takes 1 ms an image itself."""
    Crowded.busy = True
    try:
        while True:
            for _ in run(np.zeros((batch, 32, 32, 3), np.uint8)):
                Fake.now += 0.001
                yield
    finally:
        Crowded.busy = False


FILM = Work("video", _film)


@pytest.fixture
def two_threads(monkeypatch):
    """A process that may use two threads."""
    monkeypatch.setattr("starcast.runtime.engines.base.engine_threads", lambda: 2)


@pytest.fixture
def crowd(engines, measurable, two_threads):
    """Two engines for two threads: `a` is fast alone, and slow beside other threads."""
    bundle, options = measurable
    a, b = Crowded("a", 0.002, 0.009), Crowded("b", 0.003, 0.0032)
    engines(a, b)
    return a, b, bundle, replace(options, threads=None)


def test_engines_are_measured_in_the_work_that_they_are_opened_for(crowd):
    a, _b, bundle, options = crowd
    assert open_variant(bundle, options=options).engine is a
    lines: list[str] = []
    chosen = open_variant(bundle, options=replace(options, progress=lines.append), work=FILM)
    assert (chosen.engine, a.threads[-1]) == (a, 1)
    assert lines[-1] == (
        "a plain (1 thread) is the fastest here: 3 ms an image (a plain 10, b plain 4.2, b plain (1 thread) 4); "
        "--remeasure measures again"
    )
    assert recall_choice(bundle, options=options, kinds=["calls"]).winner.name == "a plain"


def test_the_winner_opens_on_its_threads_at_the_next_start(crowd):
    a, b, bundle, options = crowd
    open_variant(bundle, options=options, work=FILM)
    a.threads.clear()
    b.threads.clear()
    open_variant(bundle, options=options, work=FILM)
    assert (a.threads, b.threads) == ([1], [])


def test_a_named_engine_runs_on_the_threads_that_are_best_for_the_work(crowd):
    a, b, bundle, options = crowd
    lines: list[str] = []
    options = replace(options, progress=lines.append)
    open_variant(bundle, "a", options=options, work=FILM)
    assert a.threads == [2, 1]
    assert lines == [
        "measuring a plain on all threads and on half of them, once on this machine (up to 8 s)…",
        "a plain (1 thread) is the fastest here: 3 ms an image (a plain 10); --remeasure measures again",
    ]
    a.threads.clear()
    open_variant(bundle, "a", options=options, work=FILM)
    assert (a.threads, b.threads, len(lines)) == ([1], [], 2)


@pytest.mark.parametrize("engine", ["a", "auto"])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_were_asked_for_are_not_changed(crowd, engine, threads):
    a, b, bundle, options = crowd
    lines: list[str] = []
    open_variant(bundle, engine, options=replace(options, threads=threads, progress=lines.append), work=FILM)
    assert {*a.threads, *b.threads} == {threads}
    assert (lines == []) == (engine == "a")


def test_a_named_engine_that_nothing_runs_beside_is_not_measured(crowd):
    a, _b, bundle, options = crowd
    open_variant(bundle, "a", options=options)
    assert a.threads == [2]


def test_the_only_engine_that_is_here_gets_the_best_threads_too(crowd, engines):
    a, _b, bundle, options = crowd
    engines(a)
    open_variant(bundle, options=options, work=FILM)
    assert a.threads == [2, 1]


def test_a_named_engine_that_cannot_be_open_twice_is_not_measured(crowd):
    a, _b, bundle, options = crowd
    open_variant(bundle, "a", options=replace(options, free=1), work=FILM)
    assert a.threads == [2]


def test_fewer_threads_are_not_tried_for_images_that_take_long(engines, measurable, two_threads):
    bundle, options = measurable
    slow, slower = Crowded("a", 0.3, 0.3), Crowded("b", 0.4, 0.4)
    engines(slow, slower)
    open_variant(bundle, options=replace(options, threads=None), work=FILM)
    assert (slow.threads, slower.threads) == ([2], [2])
    lines: list[str] = []
    open_variant(bundle, "a", options=replace(options, threads=None, progress=lines.append), work=FILM)
    assert slow.threads == [2, 2]
    assert lines[-1] == "a plain takes 300 ms an image; --remeasure measures again"


def test_short_work_is_repeated_until_it_says_how_fast_an_engine_is(crowd):
    a, _b, bundle, options = crowd

    def short(run, batch):
        yield from itertools.islice(_film(run, batch), 3)

    open_variant(bundle, "a", options=options, work=Work("video", short))
    a.threads.clear()
    open_variant(bundle, "a", options=options, work=FILM)
    assert a.threads == [1]


def test_what_was_measured_alone_because_the_work_failed_is_not_remembered(crowd):
    a, _b, bundle, options = crowd

    def damaged(run, batch):
        raise VideoError("clip.mp4 is damaged")
        yield

    open_variant(bundle, "a", options=options, work=Work("video", damaged))
    a.threads.clear()
    open_variant(bundle, "a", options=options, work=FILM)
    assert a.threads == [2, 1]


def test_work_that_fails_or_ends_too_soon_leaves_the_engines_measured_alone(crowd):
    a, _b, bundle, options = crowd

    def damaged(run, batch):
        run(np.zeros((batch, 32, 32, 3), np.uint8))
        raise VideoError("clip.mp4 is damaged")
        yield

    def short(run, batch):
        yield from [None] * 3

    for number, rehearse in enumerate((damaged, short)):
        chosen = open_variant(bundle, options=options, work=Work(f"short {number}", rehearse))
        assert chosen.engine is a


def test_remeasure_measures_though_there_is_a_verdict(crowd):
    a, b, bundle, options = crowd
    open_variant(bundle, options=options)
    a.run_s = 0.02
    assert open_variant(bundle, options=options).engine is a
    assert open_variant(bundle, options=replace(options, remeasure=True)).engine is b
    assert open_variant(bundle, options=options).engine is b


def _translate(session, images: int) -> None:
    height, width = session._bundle.source.height, session._bundle.source.width
    for _ in range(images):
        session(np.zeros((1, height, width, 3), np.uint8), np.zeros((1, session._bundle.manifest.condition.size), "f4"))


def test_a_verdict_that_real_work_contradicts_is_measured_again_at_the_next_start(crowd):
    a, b, bundle, options = crowd
    lines: list[str] = []
    options = replace(options, progress=lines.append)
    open_variant(bundle, options=options).close()
    a.run_s = 0.02
    session = open_variant(bundle, options=options)
    assert session.engine is a
    _translate(session, 40)
    lines.clear()
    session.close()
    session.close()
    assert lines == ["a plain took 20 ms an image, but 2 when it was measured: the next start measures again"]
    lines.clear()
    assert open_variant(bundle, options=options).engine is b
    assert lines[0].startswith("measuring 2 combinations of engine and variant, again")


def test_a_verdict_that_agrees_or_has_too_few_calls_is_kept(crowd):
    a, _b, bundle, options = crowd
    lines: list[str] = []
    open_variant(bundle, options=options).close()
    for run_s, images in ((0.0035, 40), (0.0012, 40), (0.02, 10)):
        a.run_s = run_s
        session = open_variant(bundle, options=replace(options, progress=lines.append))
        _translate(session, images)
        session.close()
    assert lines == []


def test_a_machine_that_changes_all_the_time_is_not_measured_at_every_start(crowd):
    a, b, bundle, options = crowd
    b.run_s = b.beside_s = 1.0
    lines: list[str] = []
    for _start in range(12):
        a.run_s = 0.002
        session = open_variant(bundle, options=replace(options, progress=lines.append))
        a.run_s = 0.02
        _translate(session, 40)
        session.close()
    assert sum(line.startswith("measuring") for line in lines) <= 1 + choose.MOST_DOUBTS


class Masked(Fake):
    """An engine that takes `masks_s` for the masks of a source, and half a second to compile their graph."""

    def __init__(self, name: str, run_s: float, masks_s: float) -> None:
        super().__init__(name, run_s=run_s)
        self.masks_s = masks_s

    def open(self, graph, options):
        session = super().open(graph, options)
        if graph.path.name == "mapping.onnx":  # stands for the graph of masks
            Fake.now += 0.5

            def run(feeds):
                Fake.now += self.masks_s
                return np.zeros((1, 2, 16, 16), np.float32)

            session.run = run
        return session


def test_an_image_takes_the_time_of_its_masks_too_but_not_that_of_compiling_their_graph(engines, measurable):
    bundle, options = measurable
    masks = ExtraInput(name="masks", graph="mapping.onnx", channels=2, height=16, width=16)
    bundle = replace(bundle, manifest=replace(bundle.manifest, extra_inputs=(masks,)))
    a, b = Masked("a", 0.002, 0.020), Masked("b", 0.003, 0.010)
    engines(a, b)
    lines: list[str] = []
    chosen = open_variant(bundle, options=replace(options, progress=lines.append))
    assert lines[-1] == "b plain is the fastest here: 13 ms an image (a plain 22); --remeasure measures again"
    sources, style = np.zeros((2, 32, 32, 3), np.uint8), np.zeros((1, 8), np.float32)
    start = Fake.now
    chosen(sources, style)
    assert Fake.now - start == pytest.approx(0.013)  # the second source is the first one again
