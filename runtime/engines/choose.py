"""Which engine runs which variant of a bundle: a GPU's engine that is ready, or the fastest on this machine's CPU.

A GPU's engine is not measured against the CPU's: it is faster by an order of magnitude, measuring would compile and
load models that nobody is going to use, and the cores are needed to decode and encode. Only variants of one GPU engine
are measured against each other.
"""

from __future__ import annotations

from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines import registry, verdicts
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.candidates import EXACT, Candidate, list_candidates
from starcast.runtime.engines.fastest import open_candidate, open_fastest, question_of
from starcast.runtime.engines.registry import AUTO
from starcast.runtime.engines.session import VariantSession
from starcast.runtime.engines.verdicts import Verdict


def open_variant(
    bundle: Bundle,
    engine: str = AUTO,
    precision: str = EXACT,
    form: str | None = None,
    options: EngineOptions = EngineOptions(),
) -> VariantSession:
    """Open the variant that is to run.

    With `auto`, for the engine or the precision, the candidates on the CPU, or those of one GPU engine, are measured
    once on this machine, and the winner is remembered in the user's cache; `options.progress` gets a line before and
    one after. A named engine and precision take the first variant. `auto` passes over an engine that must be built
    first, and shows the command that builds it. Raises what `list_candidates` raises, EngineError where nothing opens,
    BundleError.
    """
    candidates = list_candidates(bundle, engine, precision, form)
    named = AUTO not in (engine, precision) or bundle.manifest.source is None
    refusals: list[str] = []
    groups = _group(candidates)
    for group in groups:
        ready, reason = _split_ready(bundle, group, options)
        if reason is not None and not ready:
            refusals.append(reason)
            continue
        try:
            session = open_candidate(bundle, ready[0], options) if named else open_fastest(bundle, ready, options)
        except EngineError as error:
            if group is groups[-1]:
                raise
            refusals.append(f"{group[0].engine.name} is left out: {error}")
            continue
        if refusals:
            options.progress(refusals[0])  # once: the other lines differ only in the engine
        return session
    raise EngineError(refusals[0])


def recall_choice(bundle: Bundle, precision: str = EXACT, options: EngineOptions = EngineOptions()) -> Verdict | None:
    """What `auto` measured for a bundle at an earlier start; None where it did not. Opens nothing."""
    if bundle.manifest.source is None:
        return None
    for group in _group(list_candidates(bundle, AUTO, precision)):
        ready, _ = _split_ready(bundle, group, options)
        if ready:
            return verdicts.recall(question_of(bundle, ready, options), options.cache)
    return None


def _group(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Candidates that are measured against each other: each GPU engine's, in the engines' order, then all of the
    CPU's."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.engine.name if candidate.engine.on_gpu else "", []).append(candidate)
    order = {name: place for place, name in enumerate(registry.ENGINES)}
    return [groups[name] for name in sorted(groups, key=lambda name: order.get(name, len(order)))]


def _split_ready(bundle: Bundle, group: list[Candidate], options: EngineOptions) -> tuple[list[Candidate], str | None]:
    """The candidates that can be opened now, and what the first of the others needs."""
    reasons = [(one, one.engine.why_not_ready(bundle, one.variant, options)) for one in group]
    ready = [candidate for candidate, reason in reasons if reason is None]
    return ready, next((reason for _, reason in reasons if reason is not None), None)
