"""The state of a checkpoint's optimisers, checked against the parameters that they update before any is loaded.

torch believes a state of other shapes, and allocates what it claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from starcast.errors import CheckpointError, printable
from starcast.train.checkpoint.content import is_plain

# optimiser -> what it keeps for each parameter that it has updated
_KEPT: dict[type[Optimizer], frozenset[str]] = {Adam: frozenset({"step", "exp_avg", "exp_avg_sq"})}


def check_optimizer(path: Path, name: str, stored: Any, optimizer: Optimizer) -> None:
    """Raise CheckpointError unless `stored` is a state of `optimizer`: plain, finite, and of its parameters' shapes."""
    try:
        _check(stored, optimizer)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{printable(path)} has a state of the optimizer {name} that does not fit ({error}): resume from an "
            "earlier checkpoint, or start a new run with --from"
        ) from error


def _check(stored: Any, optimizer: Optimizer) -> None:
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(stored, Mapping) or not isinstance(stored.get("state"), Mapping):
        raise TypeError("it has no state")
    groups = stored.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        raise TypeError("it has no groups of parameters")
    if [group.get("params") for group in groups] != [group["params"] for group in own]:
        raise ValueError("it belongs to other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = _KEPT.get(type(optimizer), frozenset())
    for number, entry in stored["state"].items():
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise ValueError(f"there is no parameter {number!r:.40}")
        if not isinstance(entry, Mapping) or not kept <= entry.keys():
            raise ValueError(f"parameter {number} lacks {', '.join(sorted(kept - set(entry)))}")
        for key, value in entry.items():
            if isinstance(value, Tensor):
                _check_tensor(f"{key} of parameter {number}", value, parameters[number])


def _check_tensor(name: str, value: Tensor, parameter: Tensor) -> None:
    if not is_plain(value):
        raise ValueError(f"{name} is in a form other than plain numbers")
    if value.shape not in (parameter.shape, torch.Size([])):
        raise ValueError(f"{name} has the shape {tuple(value.shape)} instead of {tuple(parameter.shape)}")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} has values that are not finite")
