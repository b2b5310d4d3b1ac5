"""What every exact rewrite has: a name, a summary, and a function on a graph that reports what it did and did not do.

Rewrites of a few neighbouring nodes are ExactRules, which onnxscript's rewriter matches. Rewrites that need the whole
graph are plain functions on onnx-ir.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter import pattern


@dataclass(frozen=True)
class Outcome:
    """How often a rewrite fired, and where it did not, with the reason: `decode.2.conv1: it is grouped`."""

    fired: int
    declined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrite:
    """A named exact rewrite. `apply` works in place. After one that is for `one_style`, that style serves the whole
    batch."""

    name: str
    summary: str
    apply: Callable[[ir.Model], Outcome]
    one_style: bool = False


class ExactRule(pattern.RewriteRuleClassBase):
    """A pattern, its replacement, and the reasons not to replace it. The pattern's last node is called `root`."""

    def __init__(self) -> None:
        super().__init__(remove_nodes=False)
        self.declined: dict[str, str] = {}

    def concerns(self, *_: Any, **__: Any) -> bool:
        """Whether a match is meant for this rule; if it belongs to another rewrite, it is not reported."""
        return True

    @abstractmethod
    def refusal(self, *_: Any, **__: Any) -> str | None:
        """Why this place is not rewritten; None if the rewrite is exact. Receives the pattern's values by name."""

    def check(self, *_: Any, **values: Any) -> pattern.MatchResult:
        result = pattern.MatchResult()
        place = values["root"].producer()
        assert place is not None
        if not self.concerns(**values):
            return result.fail("another kind of node", place)
        reason = self.refusal(**values) or _why_visible_outside(values)
        if reason is None:
            self.declined.pop(str(place.name), None)
            return result
        self.declined[str(place.name)] = reason
        return result.fail(reason, place)


def new_constant(op: Any, array: NDArray[Any], name: str) -> Any:
    """A constant for a replacement. Its name must be unique: the rewriter keeps only one constant of each name."""
    return op.initializer(ir.tensor(array, name=name), name=name)


def apply_rules(model: ir.Model, *kinds: type[ExactRule]) -> Outcome:
    """Rewrite until nothing changes, because one rewrite may enable another."""
    fired, declined = 0, {}
    while True:
        rules = [kind() for kind in kinds]
        changed = pattern.RewriteRuleSet([_as_rule(rule) for rule in rules], commute=True).apply_to_model(model)
        declined = {place: reason for rule in rules for place, reason in rule.declined.items()}
        fired += changed
        if not changed:
            break
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(f"{place}: {reason}" for place, reason in declined.items()))


def replace_nodes(
    model: ir.Model,
    nodes: Iterable[ir.Node],
    refusal: Callable[[ir.Node], str | None],
    replace: Callable[[ir.Graph, ir.Node], None],
) -> Outcome:
    """Replace each of the nodes, in place, unless `refusal` returns a reason why that would not be exact."""
    fired, declined = 0, []
    for node in list(nodes):
        reason = refusal(node)
        if reason is None:
            replace(model.graph, node)
            fired += 1
        else:
            declined.append(f"{node.name}: {reason}")
    RemoveUnusedNodesPass()(model)
    return Outcome(fired, tuple(declined))


def _as_rule(rule: ExactRule) -> Any:
    return pattern.RewriteRule(rule.pattern, rule.rewrite, rule.check, name=rule.name, remove_nodes=False)


def _why_visible_outside(values: dict[str, Any]) -> str | None:
    """The reason if inner values have other readers: the old nodes would have to stay and repeat the work."""
    for name, value in values.items():
        if name.startswith("inner") and (len(value.uses()) > 1 or value.is_graph_output()):
            return "another node reads an intermediate value"
    return None
