"""The fastest of several candidates on this machine: measured once, then remembered in the user's cache."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np

from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines import cache, verdicts
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.candidates import Candidate
from starcast.runtime.engines.contest import BUDGET_S, contest
from starcast.runtime.engines.session import VariantSession
from starcast.runtime.engines.verdicts import Entry, Verdict
from starcast.runtime.nvidia.first_gpu import current_gpu

TRIES = 2  # a machine that was too busy to measure everything is measured once more at the next start


def open_candidate(bundle: Bundle, candidate: Candidate, options: EngineOptions) -> VariantSession:
    """Open a variant on its engine. Raises EngineError, BundleError."""
    return VariantSession(bundle, candidate.engine, candidate.variant, options)


def open_fastest(bundle: Bundle, candidates: list[Candidate], options: EngineOptions) -> VariantSession:
    """Open the fastest of the candidates, which has been measured at an earlier start, or is now."""
    if len(candidates) == 1:
        return open_candidate(bundle, candidates[0], options)
    question = question_of(bundle, candidates, options)
    known = verdicts.recall(question, options.cache)
    tries = 0 if known is None else known.tries
    if known is not None and (known.whole or tries >= TRIES):
        try:
            return open_candidate(bundle, candidates[known.best], options)
        except EngineError as error:
            options.progress(f"{known.winner.name} was the fastest, but can no longer be opened ({error})")
    return _measure(bundle, candidates, question, options, tries + 1)


def question_of(bundle: Bundle, candidates: list[Candidate], options: EngineOptions) -> tuple[str, ...]:
    """Everything that the answer depends on. Candidates are compared with each other, so that a new one, or a new
    version of one, asks for all of them again."""
    height, width = _size(bundle)
    return (
        f"bundle {bundle.sha256}",
        f"image {width}x{height}, batch 1",
        f"threads {options.count_threads() or 0}",
        f"processor {hashlib.sha256(cache.processor().encode()).hexdigest()}",
        *([f"GPU {current_gpu()}"] if any(one.engine.on_gpu for one in candidates) else ()),
        *(
            f"{one.engine.name} {one.engine.version()}: {one.variant.file} {one.variant.precision}"
            for one in candidates
        ),
    )


def _measure(
    bundle: Bundle, candidates: list[Candidate], question: tuple[str, ...], options: EngineOptions, tries: int
) -> VariantSession:
    """Measure all, remember the answer, and return the winner as it is: opened and warm."""
    options.progress(
        f"measuring {len(candidates)} combinations of engine and variant, once on this machine (up to {BUDGET_S:g} s)…"
    )
    draws = np.random.default_rng(0)
    image = draws.integers(0, 256, (1, *_size(bundle), 3), np.uint8)
    style = draws.standard_normal((1, bundle.manifest.condition.size)).astype(np.float32)
    outcome = contest(
        [partial(open_candidate, bundle, candidate, options) for candidate in candidates],
        lambda session: session(image, style),
    )
    entries = []
    for candidate, figure in zip(candidates, outcome.figures, strict=True):
        if figure.left_out is not None:
            options.progress(f"{candidate.name} is left out: {figure.left_out}")
        ms = None if figure.seconds is None else figure.seconds * 1000
        entries.append(Entry(name=candidate.name, ms=ms, left_out=figure.left_out))
    verdict = Verdict(question=question, entries=tuple(entries), best=outcome.best, whole=outcome.whole, tries=tries)
    options.progress(verdict.sentence())
    verdicts.keep(verdict, options.cache)
    return outcome.winner


def _size(bundle: Bundle) -> tuple[int, int]:
    source = bundle.manifest.source
    return (source.height, source.width) if source is not None else (0, 0)
