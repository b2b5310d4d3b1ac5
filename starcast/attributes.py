"""Labels of named attributes, such as CelebA's: which exclude each other, and how a target is made from a source's.

Labels are 0 or 1, arrays (..., attributes) in the order of the names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# of CelebA's: a person has one
HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")

Labels = NDArray[np.float32]


def change_labels(
    labels: NDArray[Any],
    names: Sequence[str],
    *,
    on: Collection[str] = (),
    off: Collection[str] = (),
    flip: Collection[str] = (),
) -> Labels:
    """A copy with some attributes set to 1, others to 0, others flipped. One hair colour replaces the others."""
    changed = np.array(labels, np.float32)
    for number, name in enumerate(names):
        if name in on:
            changed[..., number] = 1
        elif name in off:
            changed[..., number] = 0
        elif name in flip:
            changed[..., number] = 1 - changed[..., number]
    hair = {name: number for number, name in enumerate(names) if name in HAIR_COLOURS}
    asked = {name for name in hair if name in on or name in flip}
    for name in asked:
        chosen = changed[..., hair[name]] == 1
        for other in hair.keys() - asked:
            changed[..., hair[other]] = np.where(chosen, 0, changed[..., hair[other]])
    return changed


def each_changed(labels: NDArray[Any], names: Sequence[str]) -> Labels:
    """For each attribute in turn the labels with that one changed, (attributes, ..., attributes): a hair colour is set
    in place of the others, anything else is flipped."""
    targets = [change_labels(labels, names, **{"on" if name in HAIR_COLOURS else "flip": (name,)}) for name in names]
    return np.stack(targets)
