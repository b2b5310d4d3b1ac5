"""What the rewrites of a graph did, for people: counts, FLOP and bytes before and after, and the reasons why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from starcast.export.flop import count_flop
from starcast.export.passes.forms import FORMS, REWRITES, Step
from starcast.export.shapes import one_picture
from starcast.export.working_set import working_bytes


@dataclass(frozen=True)
class Cost:
    """What a frame graph takes for one picture of the trained size."""

    flop: int
    weights: int  # bytes
    working: int  # bytes of the values that are alive at once

    @classmethod
    def of(cls, model: ir.Model, side: int) -> Cost:
        """Counted, not run."""
        tensors = [value.const_value for value in model.graph.initializers.values()]
        weights, sizes = sum(tensor.nbytes for tensor in tensors if tensor is not None), one_picture(side)
        return cls(count_flop(model, sizes), weights, working_bytes(model, sizes))


def rewrite_lines(steps: Sequence[Step], before: Cost, after: Cost) -> Iterator[str]:
    """A line of figures, then one for each place that a rewrite left as it is."""
    if steps:
        yield ", ".join(f"{step.rewrite.name} {step.outcome.fired}" for step in steps)
    yield (
        f"{before.flop / 1e9:.2f} -> {after.flop / 1e9:.2f} GFLOP a picture, "
        f"{before.weights / 1e6:.1f} -> {after.weights / 1e6:.1f} MB of weights"
    )
    for step in steps:
        for place in step.outcome.declined:
            yield f"{step.rewrite.name} left {place}"


def list_of_rewrites() -> Iterator[str]:
    """A line a rewrite: its name, what it does, and the forms that it is a part of."""
    width = max(map(len, REWRITES))
    for name, rewrite in REWRITES.items():
        forms = [form for form, rewrites in FORMS.items() if rewrite in rewrites]
        yield f"{name:<{width}}  {rewrite.summary} ({', '.join(forms)})"
