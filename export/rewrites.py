"""Reports what rewrites did to a graph: counts, FLOP and bytes before and after, places left alone, and its norms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starcast.export.graphs.cost import Cost
from starcast.export.passes.forms import BESIDE_BF16, FORMS, REWRITES, Step
from starcast.runtime.manifest import Norm


def rewrite_lines(steps: Sequence[Step], before: Cost, after: Cost) -> Iterator[str]:
    """A line of figures, then one for each place that a rewrite left alone."""
    if steps:
        yield ", ".join(f"{step.rewrite.name} {step.outcome.fired}" for step in steps)
    yield (
        f"{before.flop / 1e9:.2f} -> {after.flop / 1e9:.2f} GFLOP per image, "
        f"{before.weights / 1e6:.1f} -> {after.weights / 1e6:.1f} MB of weights"
    )
    for step in steps:
        for place in step.outcome.declined:
            yield f"{step.rewrite.name} left {place}"


def norm_lines(norms: Sequence[Norm], left: Sequence[str]) -> Iterator[str]:
    """A line about all norms of a graph, then one for each that could not be centred."""
    if norms:
        worst = max(norms, key=lambda norm: norm.ratio)
        one_pass = sum(norm.statistics == "one-pass" for norm in norms)
        yield (
            f"norms: {one_pass} in one pass, {len(norms) - one_pass} in two, {sum(norm.centred for norm in norms)} "
            f"centred; |mean| / std at most {worst.ratio:.3g} ({worst.name})"
        )
    for place in left:
        yield f"not centred: {place}"


def list_of_rewrites() -> Iterator[str]:
    """A line for each rewrite: its name, what it does, and the forms that it belongs to."""
    width = max(map(len, REWRITES))
    for name, rewrite in REWRITES.items():
        elsewhere = "int8 with bf16, for openvino" if rewrite in BESIDE_BF16 else "any form, for tensorrt"
        forms = [form for form, rewrites in FORMS.items() if rewrite in rewrites] or [elsewhere]
        yield f"{name:<{width}}  {rewrite.summary} ({', '.join(forms)})"
