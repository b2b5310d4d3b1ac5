"""Which engine runs which variant of a bundle: a graphics card's, or the fastest on this machine's processor.

Where a card's engine is ready, it runs, and is not measured against the processor's: it is faster by an order of
magnitude, measuring would compile and load what nobody is going to use, and the cores are needed to decode and encode.
Only variants of one engine are measured against each other.
"""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np

from starcast.errors import EngineError, MissingExtraError, OptionError, StarcastError, VariantMissingError
from starcast.runtime.bundle import Bundle
from starcast.runtime.cores import engine_threads
from starcast.runtime.engines import cache, verdicts
from starcast.runtime.engines.base import Backend, EngineOptions, made_for
from starcast.runtime.engines.contest import BUDGET_S, contest
from starcast.runtime.engines.ncnn import Ncnn, NcnnVulkan
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.onnxruntime_cuda import OnnxRuntimeCuda
from starcast.runtime.engines.openvino import OpenVINO
from starcast.runtime.engines.session import Frames
from starcast.runtime.engines.tensorrt import TensorRT
from starcast.runtime.engines.verdicts import Entry, Verdict
from starcast.runtime.manifest import Variant
from starcast.runtime.nvidia.gpu import current_gpu

AUTO = "auto"
EXACT = "fp32"
# of NVIDIA's cards: the first whose engine is ready. TensorRT proper knows every card, and kernels timed on this one
CARDS: tuple[Backend, ...] = (TensorRT("tensorrt"), TensorRT("tensorrt-rtx"), OnnxRuntimeCuda())
# the first that is here runs what is not measured. The order is that of the chance to win, for where time is short:
# OpenVINO leads with the new instruction sets, ncnn without them, and ONNX Runtime stays a little behind OpenVINO
PROCESSORS: tuple[Backend, ...] = (OpenVINO(), Ncnn(), OnnxRuntime())
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (*CARDS, *PROCESSORS, NcnnVulkan())}
# only where it is named: a Vulkan driver may be a program that draws on the CPU, and one run of it takes minutes
NAMED_ONLY = ("ncnn-vulkan",)
# also only where they are named, and not of this room: nothing here may import what they do
OUTSIDE = {"torch": "starcast.export.torch_engine.engine:TorchBackend"}
TRIES = 2  # a machine that was too busy to measure everything is asked once more at the next start
# precisions for `--precision auto`, in the order in which they are measured: fp16 is what cards like best, int8 gains
# the most on processors
PRECISIONS = (EXACT, "fp16", "int8", "fp8", "bf16")


@dataclass(frozen=True)
class Candidate:
    """A variant, and an engine that is here and runs it."""

    backend: Backend
    variant: Variant

    @property
    def name(self) -> str:
        """`openvino taps9`, `openvino phases int8`."""
        precision = () if self.variant.precision == EXACT else (self.variant.arithmetic,)
        return " ".join((self.backend.name, self.variant.form_name, *precision))


def available() -> tuple[str, ...]:
    """Names of the engines that are here, the preferred one first. Imports them."""
    return tuple(name for name, backend in BACKENDS.items() if backend.absent() is None)


def install_line(backend: Backend) -> str:
    """What a user types to get an engine."""
    return f"pip install 'starcast[{backend.extra}]'"


def opened(
    bundle: Bundle,
    backend: str = AUTO,
    precision: str = EXACT,
    form: str | None = None,
    options: EngineOptions = EngineOptions(),
    say: Callable[[str], None] = lambda line: None,
) -> Frames:
    """The variant that is to run, opened.

    With `auto`, for the engine or the precision, every candidate of the processor's, or of one of the card's engines,
    is measured once on this machine, and the winner kept in the user's cache; `say` gets a line before and one after.
    A named engine and precision take the first variant. What has to be built first is passed over by `auto`, which
    says the line that builds it. Raises what `candidates` raises, EngineError where nothing opens, BundleError.
    """
    found = candidates(bundle, backend, precision, form)
    whole = AUTO not in (backend, precision) or bundle.manifest.source is None
    refusals: list[str] = []
    groups = _groups(found)
    for group in groups:
        ready, reason = _ready(bundle, group, options)
        if reason is not None and not ready:
            refusals.append(reason)
            continue
        try:
            frames = _chosen(bundle, ready[:1] if whole else ready, options, say)
        except EngineError as error:
            if group is groups[-1]:
                raise
            refusals.append(f"{group[0].backend.name} is left out: {error}")
            continue
        if refusals:
            say(refusals[0])  # once: the others' lines would be the same but for the engine
        return frames
    raise EngineError(refusals[0])


def _chosen(bundle: Bundle, found: list[Candidate], options: EngineOptions, say: Callable[[str], None]) -> Frames:
    """The fastest of the candidates, opened; it has been measured, or is now."""
    if len(found) == 1:
        return _opened(bundle, found[0], options)
    question = _question(bundle, found, options)
    known = verdicts.recall(question, options.cache)
    tries = 0 if known is None else known.tries
    if known is not None and (known.whole or tries >= TRIES):
        try:
            return _opened(bundle, found[known.best], options)
        except EngineError as error:
            say(f"{known.winner.name} was the fastest, but does not open any more ({error})")
    return _measured(bundle, found, question, options, say, tries + 1)


def known_choice(bundle: Bundle, precision: str = EXACT, options: EngineOptions = EngineOptions()) -> Verdict | None:
    """What `auto` found for a bundle at an earlier start; None where nothing was measured. Opens nothing."""
    if bundle.manifest.source is None:
        return None
    for group in _groups(candidates(bundle, AUTO, precision)):
        ready, _ = _ready(bundle, group, options)
        if ready:
            return verdicts.recall(_question(bundle, ready, options), options.cache)
    return None


def candidates(bundle: Bundle, backend: str = AUTO, precision: str = EXACT, form: str | None = None) -> list[Candidate]:
    """Every pair of an engine that is here and a variant that it runs, in a fixed order: each engine's first variant
    before any engine's second.

    Raises OptionError for an unknown engine, MissingExtraError for one that is not installed, VariantMissingError
    where the bundle has nothing for it.
    """
    engines = _engines(backend)
    converts = backend != AUTO and precision in engines[0].converts
    variants = _variants(bundle, EXACT if converts else precision, form)
    if converts:
        variants = [msgspec.structs.replace(variant, precision=precision) for variant in variants]
    # asking imports an engine: those that have no variant are not asked
    wanted = [engine for engine in engines if any(made_for(variant, engine) for variant in variants)]
    here = [engine for engine in wanted if engine.absent() is None]
    found = sorted(_ranked(here, variants), key=lambda pair: pair[0])
    if found:
        return [candidate for _, candidate in found]
    raise _why_none(bundle, backend, precision, variants)


def _engines(backend: str) -> list[Backend]:
    """Those that are asked for by name, or by `auto`. Raises OptionError, MissingExtraError."""
    if backend == AUTO:
        return [engine for name, engine in BACKENDS.items() if name not in NAMED_ONLY]
    if backend in BACKENDS:
        return [BACKENDS[backend]]
    if backend in OUTSIDE:
        return [_from_outside(backend)]
    raise OptionError(f"--backend is {backend!r}: give one of {', '.join((AUTO, *BACKENDS, *OUTSIDE))}")


def _from_outside(name: str) -> Backend:
    module, _, kind = OUTSIDE[name].partition(":")
    try:
        made: Backend = getattr(importlib.import_module(module), kind)()
    except ImportError as error:
        raise MissingExtraError(f"{name} cannot be used ({error}): pip install 'starcast[export]'") from error
    return made


def _groups(found: list[Candidate]) -> list[list[Candidate]]:
    """Candidates that are measured against each other: those of each of the card's engines, in their order, then all of
    the processor's."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in found:
        groups.setdefault(candidate.backend.name if candidate.backend.on_card else "", []).append(candidate)
    order = {name: place for place, name in enumerate(BACKENDS)}
    return [groups[name] for name in sorted(groups, key=lambda name: order.get(name, len(order)))]


def _ready(bundle: Bundle, group: list[Candidate], options: EngineOptions) -> tuple[list[Candidate], str | None]:
    """Those that need nothing to be done first, and what the first of the others needs."""
    reasons = [(candidate, candidate.backend.ready(bundle, candidate.variant, options)) for candidate in group]
    ready = [candidate for candidate, reason in reasons if reason is None]
    return ready, next((reason for _, reason in reasons if reason is not None), None)


def _ranked(engines: list[Backend], variants: list[Variant]) -> Iterator[tuple[tuple[int, int], Candidate]]:
    """Candidates with their place: (how many of the engine's variants of the precision come before, precision)."""
    order = list(dict.fromkeys((*PRECISIONS, *(variant.precision for variant in variants))))
    for engine in engines:
        before: Counter[str] = Counter()
        for variant in variants:
            if engine.supports(variant) is None:
                yield (before[variant.precision], order.index(variant.precision)), Candidate(engine, variant)
                before[variant.precision] += 1


def _variants(bundle: Bundle, precision: str, form: str | None) -> list[Variant]:
    of_form = [variant for variant in bundle.manifest.variants if form in (None, variant.form_name)]
    if form is not None and not of_form:
        has = sorted({variant.form_name for variant in bundle.manifest.variants})
        raise VariantMissingError(f"{bundle.path} has no variant of the form {form} (it has {', '.join(has)})")
    wanted = PRECISIONS if precision == AUTO else (precision,)
    variants = [variant for variant in of_form if variant.precision in wanted]
    if not variants:
        has = sorted({variant.precision for variant in of_form})
        raise VariantMissingError(
            f"{bundle.path} has no {precision} variant (it has {', '.join(has) or 'none at all'}): give --precision, "
            "or make another bundle with `starcast export CHECKPOINT -o BUNDLE`"
        )
    return variants


def _why_none(bundle: Bundle, backend: str, precision: str, variants: list[Variant]) -> StarcastError:
    """Why no engine that was asked for runs any of the variants."""
    engines = _engines(backend)
    absent = {engine.name: engine.absent() for engine in engines}
    here = [engine for engine in engines if absent[engine.name] is None]
    for engine in here:
        for variant in variants:
            if made_for(variant, engine):
                return VariantMissingError(
                    f"{bundle.path} does not run in {variant.precision} here ({engine.supports(variant)}): "
                    "give another --precision or --backend"
                )
    if backend != AUTO and not here:
        return MissingExtraError(f"{backend} cannot be used ({absent[backend]}){_remedy(engines[0], absent[backend])}")
    if backend != AUTO:
        return VariantMissingError(
            f"{bundle.path} has no {precision} variant for {backend}: "
            "give another --backend, or export the bundle again"
        )
    if here:
        names = sorted({name for variant in variants for name in variant.engines})
        return VariantMissingError(
            f"{bundle.path} has {precision} graphs for {' and '.join(names) or 'no engine'}, which are not here: "
            "install one (`starcast doctor` has the lines), or export the bundle again"
        )
    lines = " or ".join(dict.fromkeys(install_line(engine) for engine in engines))
    return MissingExtraError(f"no engine is installed that could run {bundle.path}: {lines}")


def _remedy(engine: Backend, reason: str | None) -> str:
    """What is installed and lacks a card or an engine, pip cannot mend."""
    return "" if (reason or "").startswith("installed, ") else f": {install_line(engine)}"


def _opened(bundle: Bundle, candidate: Candidate, options: EngineOptions) -> Frames:
    return Frames(bundle, candidate.backend, candidate.variant, options)


def _question(bundle: Bundle, found: list[Candidate], options: EngineOptions) -> tuple[str, ...]:
    """Everything that the answer depends on. Candidates are compared with each other, so that a new one, or a new
    version of one, asks for all of them again."""
    height, width = _size(bundle)
    return (
        f"bundle {bundle.sha256}",
        f"picture {width}x{height}, batch 1",
        f"threads {options.threads or engine_threads() or 0}",
        f"processor {hashlib.sha256(cache.processor().encode()).hexdigest()}",
        *([f"card {current_gpu()}"] if any(one.backend.on_card for one in found) else ()),
        *(f"{one.backend.name} {one.backend.version()}: {one.variant.file} {one.variant.precision}" for one in found),
    )


def _size(bundle: Bundle) -> tuple[int, int]:
    source = bundle.manifest.source
    return (source.height, source.width) if source is not None else (0, 0)


def _measured(
    bundle: Bundle,
    found: list[Candidate],
    question: tuple[str, ...],
    options: EngineOptions,
    say: Callable[[str], None],
    tries: int,
) -> Frames:
    """The fastest, opened: what was opened to measure it goes on."""
    say(f"measuring {len(found)} ways to run this model, once on this machine (up to {BUDGET_S:g} s)…")
    draws = np.random.default_rng(0)
    picture = draws.integers(0, 256, (1, *_size(bundle), 3), np.uint8)
    style = draws.standard_normal((1, bundle.manifest.condition.size)).astype(np.float32)
    outcome = contest(
        [partial(_opened, bundle, candidate, options) for candidate in found], lambda frames: frames(picture, style)
    )
    entries = []
    for candidate, figure in zip(found, outcome.figures, strict=True):
        if figure.left_out is not None:
            say(f"{candidate.name} is left out: {figure.left_out}")
        ms = None if figure.seconds is None else figure.seconds * 1000
        entries.append(Entry(name=candidate.name, ms=ms, left_out=figure.left_out))
    verdict = Verdict(question=question, entries=tuple(entries), best=outcome.best, whole=outcome.whole, tries=tries)
    say(verdict.sentence())
    verdicts.keep(verdict, options.cache)
    return outcome.winner
