"""Choose the engine and variant that run a bundle: a GPU engine that is ready, or the fastest on this machine's CPU.

Candidates that need too much memory are left out (`memory_needs`). The others are measured against each other once, in
the work that they are opened for (`workload`), on all threads and on half of them; the answer is remembered in the
user's cache. If real work then is far from what was measured, they are measured again at the next start. For a named
engine, only the number of threads is chosen.

A GPU engine is not measured against the CPU's: it is faster by an order of magnitude, measuring would compile and load
models that nobody is going to use, and the cores are needed to decode and encode. On a GPU, only variants of one engine
are measured against each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines import cache, registry, verdicts
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.candidates import EXACT, Candidate, list_candidates
from starcast.runtime.engines.contest import BUDGET_S, contest
from starcast.runtime.engines.memory_needs import fits_share, within_limit, within_share
from starcast.runtime.engines.registry import AUTO
from starcast.runtime.engines.session import VariantSession
from starcast.runtime.engines.speed_watch import Watch
from starcast.runtime.engines.verdicts import Entry, Verdict, short_ms
from starcast.runtime.engines.workload import CALLS, SLOW_S, Pace, Run, Work, measure_pace
from starcast.runtime.noise import zero_noise

MOST_DOUBTS = 3
KINDS = ("video", "translate", "generate", "morph", "calls")  # of work
TRIES = 2  # if a busy machine could not measure everything in time, the next start tries once more


def open_variant(
    bundle: Bundle,
    engine: str = AUTO,
    precision: str = EXACT,
    form: str | None = None,
    options: EngineOptions = EngineOptions(),
    work: Work = CALLS,
) -> VariantSession:
    """Open one of the bundle's variants on an engine.

    If the engine or the precision is `auto`, the candidates on the CPU, or those of one GPU engine, are measured once
    on this machine, and the winner is remembered in the user's cache; `options.progress` gets a line before and one
    after. If both are named, the first variant is opened. Unless `options.threads` says how many, the number of threads
    is measured in the same way. `auto` skips an engine that must be built first, and shows the command that builds it.
    Raises what `list_candidates` raises, EngineError if nothing opens, BundleError.
    """
    candidates = list_candidates(bundle, engine, precision, form)
    named = AUTO not in (engine, precision)
    refusals: list[str] = []
    groups = _group(candidates)
    for group in groups:
        ready, reason = _split_ready(bundle, group, options)
        if reason is not None and not ready:
            refusals.append(reason)
            continue
        try:
            ready = within_limit(bundle, ready, options)
            session = _open_fastest(bundle, ready[:1] if named else ready, options, work)
        except EngineError as error:
            if group is groups[-1]:
                raise
            refusals.append(f"{group[0].engine.name} is left out: {error}")
            continue
        if refusals:
            options.progress(refusals[0])  # only the first: the others differ only in the engine
        return session
    raise EngineError(refusals[0])


def recall_choice(
    bundle: Bundle, precision: str = EXACT, options: EngineOptions = EngineOptions(), kinds: Sequence[str] = KINDS
) -> Verdict | None:
    """The verdict that `auto` measured for a bundle at an earlier start, for the first kind of work that has one, or
    None. Opens nothing."""
    for group in _group(list_candidates(bundle, AUTO, precision)):
        ready, _ = _split_ready(bundle, group, options)
        if ready:
            known = (
                verdicts.recall(
                    _question(bundle, _with_fewer_threads(ready, options, kind), options, kind), options.cache
                )
                for kind in kinds
            )
            return next((verdict for verdict in known if verdict is not None), None)
    return None


def _group(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Groups of candidates to measure against each other: one per GPU engine, in the engines' order, then all on the
    CPU."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.engine.name if candidate.engine.on_gpu else "", []).append(candidate)
    order = {name: place for place, name in enumerate(registry.ENGINES)}
    return [groups[name] for name in sorted(groups, key=lambda name: order.get(name, len(order)))]


def _split_ready(bundle: Bundle, group: list[Candidate], options: EngineOptions) -> tuple[list[Candidate], str | None]:
    """The ready candidates, and what to do before the first of the others can be opened; None if all are ready."""
    reasons = [(one, one.engine.why_not_ready(bundle, one.variant, options)) for one in group]
    ready = [candidate for candidate, reason in reasons if reason is None]
    return ready, next((reason for _, reason in reasons if reason is not None), None)


def _open(bundle: Bundle, candidate: Candidate, options: EngineOptions) -> VariantSession:
    """Open a variant on its engine. Raises EngineError, BundleError."""
    if candidate.threads is not None:
        options = replace(options, threads=candidate.threads)
    return VariantSession(bundle, candidate.engine, candidate.variant, options)


def _open_whole(
    bundle: Bundle, candidate: Candidate, options: EngineOptions, sample: NDArray[Any]
) -> VariantSession:  # fmt: skip
    """Open a variant, and the graphs that make its extra inputs: compiling them is not part of an image's time."""
    session = _open(bundle, candidate, options)
    try:
        if session.extra_inputs:
            session.extra_inputs.make(sample)
    except BaseException:
        session.close()
        raise
    return session


def _open_fastest(bundle: Bundle, candidates: list[Candidate], options: EngineOptions, work: Work) -> VariantSession:
    """Open the fastest of the candidates that need at most half of the free memory, as measured at an earlier start or
    now."""
    candidates = within_share(bundle, candidates, options)
    if len(candidates) > 1 or fits_share(bundle, candidates[0], options):
        candidates = _with_fewer_threads(candidates, options, work.name)
    if len(candidates) == 1:
        return _open(bundle, candidates[0], options)
    question = _question(bundle, candidates, options, work.name)
    known = None if options.remeasure else verdicts.recall(question, options.cache)
    if known is not None and [entry.name for entry in known.entries] != [candidate.name for candidate in candidates]:
        known = None
    if known is not None and not known.doubted and (known.whole or known.tries >= TRIES):
        try:
            session = _open(bundle, candidates[known.best], options)
        except EngineError as error:
            options.progress(f"{known.winner.name} was the fastest, but can no longer be opened ({error})")
        else:
            _watch(session, known, bundle, options)
            return session
    return _measure(bundle, candidates, question, options, work, known)


def _with_fewer_threads(candidates: list[Candidate], options: EngineOptions, work: str) -> list[Candidate]:
    """The candidates, and each of them on half the threads, which leaves cores to the rest of the work. Not on GPUs,
    not where nothing else runs, and not if somebody said how many threads."""
    threads = options.count_threads() or 0
    fixed = options.threads is not None or any(candidate.engine.on_gpu for candidate in candidates)
    if fixed or work == CALLS.name or threads < 2:
        return candidates
    return [*candidates, *(replace(candidate, threads=threads // 2) for candidate in candidates)]


def _question(bundle: Bundle, candidates: list[Candidate], options: EngineOptions, work: str) -> tuple[str, ...]:
    """Everything that the verdict depends on. Candidates are compared with each other, so a new one, or a new version
    of one, means measuring all of them again."""
    height, width = bundle.manifest.trained_size
    gpu: tuple[str, ...] = ()
    if any(candidate.engine.on_gpu for candidate in candidates):
        from starcast.runtime.nvidia.first_gpu import current_gpu  # GPU engines have imported it; others need not

        gpu = (f"GPU {current_gpu()}",)
    return (
        f"bundle {bundle.sha256}",
        f"image {width}x{height}, in {work}",
        f"threads {options.count_threads() or 0}" if options.threads is None else f"exactly {options.threads} threads",
        f"processor {hashlib.sha256(cache.processor().encode()).hexdigest()}",
        *gpu,
        *(
            f"{one.engine.name} {one.engine.version()}: {one.variant.file} {one.variant.precision}"
            for one in candidates
            if one.threads is None
        ),
    )


def _measure(
    bundle: Bundle,
    candidates: list[Candidate],
    question: tuple[str, ...],
    options: EngineOptions,
    work: Work,
    known: Verdict | None,
) -> VariantSession:
    """Measure all candidates, store the verdict, and return the winner, still open and warm. `known` is the verdict of
    an earlier start."""
    again = "again" if known is not None and known.doubted else "once on this machine"
    whole = sum(candidate.threads is None for candidate in candidates)
    several = f"{whole} combinations of engine and variant"
    what = several if whole > 1 else f"{candidates[0].name} on all threads and on half of them"
    options.progress(f"measuring {what}, {again} (up to {BUDGET_S:g} s)…")
    bind, sample = _trial(bundle)
    paces: dict[int, Pace] = {}

    def measure(session: VariantSession) -> float:
        pace = measure_pace(work, bind(session), session.usual_batch, sample, session.extra_inputs.forget)
        paces[id(session)] = pace
        return pace.seconds

    def skip(number: int, best_s: float) -> str | None:
        slow = candidates[number].threads is not None and best_s > SLOW_S
        return "all threads are needed" if slow else None

    openers: list[Callable[[], VariantSession]] = [
        partial(_open_whole, bundle, candidate, options, sample) for candidate in candidates
    ]
    outcome = contest(openers, measure, skip=skip)
    entries = []
    for candidate, figure in zip(candidates, outcome.figures, strict=True):
        if figure.left_out is not None and candidate.threads is None:
            options.progress(f"{candidate.name} is left out: {figure.left_out}")
        ms = None if figure.seconds is None else figure.seconds * 1000
        entries.append(Entry(name=candidate.name, ms=ms, left_out=figure.left_out))
    verdict = Verdict(
        question=question,
        entries=tuple(entries),
        best=outcome.best,
        whole=outcome.whole,
        tries=1 if known is None or known.doubted else known.tries + 1,
        run_ms=paces[id(outcome.winner)].run * 1000,
        doubts=0 if known is None else known.doubts,
    )
    options.progress(verdict.sentence())
    if all(pace.in_work for pace in paces.values()):
        verdicts.keep(verdict, options.cache)
    _watch(outcome.winner, verdict, bundle, options)
    return outcome.winner


def _watch(session: VariantSession, verdict: Verdict, bundle: Bundle, options: EngineOptions) -> None:
    """Let the session's first calls be compared with the verdict. It is doubted MOST_DOUBTS times: on a machine that is
    busy now and then, every start would measure again."""

    expected = verdict.run_ms
    if expected is None or verdict.doubts >= MOST_DOUBTS:
        return

    def doubt(ms: float) -> None:
        if verdicts.keep(replace(verdict, doubted=True, doubts=verdict.doubts + 1), options.cache):
            options.progress(
                f"{verdict.winner.name} took {short_ms(ms)} ms an image, but {short_ms(expected)} when it was "
                "measured: the next start measures again"
            )

    session.watch = Watch(expected, bundle.manifest.trained_size, doubt)


def _trial(bundle: Bundle) -> tuple[Callable[[VariantSession], Run], NDArray[Any]]:
    """A function (session) -> what makes images with it, and a batch of one to measure that with: a random image, to
    be translated in a random style, or for a bundle without a source, a random style."""
    manifest, draws = bundle.manifest, np.random.default_rng(0)
    if manifest.source is None:
        sample = draws.standard_normal((1, *manifest.condition.shape)).astype(np.float32)
        noise = zero_noise(manifest)
        return lambda session: lambda styles: session.generate(styles, noise), sample
    image = draws.integers(0, 256, (1, *manifest.trained_size, 3), np.uint8)
    style = draws.standard_normal((1, manifest.condition.size)).astype(np.float32)
    return lambda session: lambda images: session(images, style), image
