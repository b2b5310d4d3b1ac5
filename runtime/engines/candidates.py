"""List the pairs of an available engine and a variant that it runs, in the order in which they are tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from starcast.errors import MissingExtraError, StarcastError, VariantMissingError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Engine, is_made_for
from starcast.runtime.engines.registry import AUTO, find_engines
from starcast.runtime.variants import Variant

EXACT = "fp32"
# For `--precision auto`, in the order in which they are measured: GPUs gain the most from fp16, CPUs from int8.
ORDER = (EXACT, "fp16", "int8", "fp8", "bf16")


class Candidate(msgspec.Struct, frozen=True):
    """A variant, and an available engine that runs it; on how many threads, if not on as many as it may use."""

    engine: Engine
    variant: Variant
    threads: int | None = None

    @property
    def name(self) -> str:
        """`openvino taps9`, `openvino phases int8`, `ncnn taps9 (1 thread)`."""
        precision = () if self.variant.precision == EXACT else (self.variant.arithmetic,)
        threads = () if self.threads is None else (f"({self.threads} {'thread' if self.threads == 1 else 'threads'})",)
        return " ".join((self.engine.name, self.variant.form_name, *precision, *threads))


def list_candidates(
    bundle: Bundle, engine: str = AUTO, precision: str = EXACT, form: str | None = None
) -> list[Candidate]:
    """Every candidate, in a fixed order: each engine's first variant before any engine's second.

    Raises OptionError for an unknown engine, MissingExtraError for one that is not installed, VariantMissingError where
    the bundle has no variant for it.
    """
    engines = find_engines(engine)
    converts = engine != AUTO and precision in engines[0].converts
    variants = _variants(bundle, EXACT if converts else precision, form)
    if converts:
        variants = [msgspec.structs.replace(variant, precision=precision) for variant in variants]
    # leave out engines without a variant first: `absent` would import them
    wanted = [engine for engine in engines if any(is_made_for(variant, engine) for variant in variants)]
    here = [engine for engine in wanted if engine.absent() is None]
    ranked = sorted(_rank(here, variants), key=lambda pair: pair[0])
    if ranked:
        return [candidate for _, candidate in ranked]
    if engine == AUTO:
        raise _nothing_runs(bundle, precision, variants, engines)
    raise _cannot_run(bundle, precision, variants, engines[0])


def _rank(engines: list[Engine], variants: list[Variant]) -> Iterator[tuple[tuple[int, int], Candidate]]:
    """Candidates with their sort key: (number of the engine's earlier variants in that precision, precision's rank)."""
    order = list(dict.fromkeys((*ORDER, *(variant.precision for variant in variants))))
    for engine in engines:
        before: Counter[str] = Counter()
        for variant in variants:
            if engine.why_unsupported(variant) is None:
                yield (before[variant.precision], order.index(variant.precision)), Candidate(engine, variant)
                before[variant.precision] += 1


def _variants(bundle: Bundle, precision: str, form: str | None) -> list[Variant]:
    of_form = [variant for variant in bundle.manifest.variants if form in (None, variant.form_name)]
    if form is not None and not of_form:
        has = sorted({variant.form_name for variant in bundle.manifest.variants})
        raise VariantMissingError(f"{bundle.path} has no variant of the form {form} (it has {', '.join(has)})")
    wanted = ORDER if precision == AUTO else (precision,)
    variants = [variant for variant in of_form if variant.precision in wanted]
    if not variants:
        has = sorted({variant.precision for variant in of_form})
        raise VariantMissingError(
            f"{bundle.path} has no {precision} variant (it has {', '.join(has) or 'none at all'}): give --precision, "
            "or make another bundle with `starcast export CHECKPOINT -o BUNDLE`"
        )
    return variants


def _cannot_run(bundle: Bundle, precision: str, variants: Sequence[Variant], engine: Engine) -> StarcastError:
    """The error for a named engine that runs none of the variants."""
    absence = engine.absent()
    if absence is not None:
        return MissingExtraError(
            f"{engine.name} cannot be used ({absence.reason}){absence.remedy(engine.install_line)}"
        )
    return _unsupported(bundle, variants, [engine]) or VariantMissingError(
        f"{bundle.path} has no {precision} variant for {engine.name}: "
        "give another --backend, or export the bundle again"
    )


def _nothing_runs(
    bundle: Bundle, precision: str, variants: Sequence[Variant], engines: Sequence[Engine]
) -> StarcastError:
    """The error for variants that no engine runs."""
    here = [engine for engine in engines if engine.absent() is None]
    if not here:
        lines = " or ".join(dict.fromkeys(engine.install_line for engine in engines))
        return MissingExtraError(f"no engine is installed that could run {bundle.path}: {lines}")
    names = sorted({name for variant in variants for name in variant.engines})
    return _unsupported(bundle, variants, here) or VariantMissingError(
        f"{bundle.path} has {precision} graphs for {' and '.join(names) or 'no engine'}, which are not installed: "
        "install one (`starcast doctor` has the lines), or export the bundle again"
    )


def _unsupported(bundle: Bundle, variants: Sequence[Variant], engines: Sequence[Engine]) -> VariantMissingError | None:
    """The error for the first of the engines that cannot run a variant made for it here; None if there is none."""
    for engine in engines:
        for variant in variants:
            if is_made_for(variant, engine):
                return VariantMissingError(
                    f"{bundle.path} does not run in {variant.precision} here ({engine.why_unsupported(variant)}): "
                    "give another --precision or --backend"
                )
    return None
