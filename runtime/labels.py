"""Labels as a condition: named numbers become the vector that a generator takes.

Attributes are independent of each other, except that hair colours replace each other; of classes, an image has one. A
model with both was trained on two sets of images, and takes the labels of one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.attributes import HAIR_COLOURS, change_labels
from starcast.comma_lists import join_commas
from starcast.errors import StyleError
from starcast.runtime.manifest import LabelMaker

Vector = NDArray[np.float32]

NONE = "none"  # in a list of a source's attributes: it has none


class LabelChange(msgspec.Struct, frozen=True, kw_only=True):
    """How a translation's labels differ from its source's: those set, unset and flipped."""

    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    flip: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every label that it names."""
        return self.on + self.off + self.flip

    @property
    def text(self) -> str:
        """`Blond_Hair+not-Male+flip-Young`; `as-it-is` if nothing changes."""
        parts = [*self.on, *(f"not-{name}" for name in self.off), *(f"flip-{name}" for name in self.flip)]
        return "+".join(parts) or "as-it-is"


def change_of(maker: LabelMaker, name: str) -> LabelChange:
    """The change for `--domain NAME`, as in the original's grids: a class or a hair colour is set, any other attribute
    is flipped."""
    is_set = name in maker.class_names or name in HAIR_COLOURS
    return LabelChange(on=(name,)) if is_set else LabelChange(flip=(name,))


def example_flags(maker: LabelMaker, name: str) -> tuple[str, ...]:
    """Flags for an example command that translates to a label."""
    if name in maker.class_names:
        return "--domain", name
    change = "--set", join_commas((name,))
    return change if maker.classifier is not None else (*change, "--has", no_attribute(maker))


def no_attribute(maker: LabelMaker) -> str:
    """The list for `--has` that says that a source has no attribute: `none`; empty if a label is called that."""
    return "" if NONE in maker.names else NONE


def label_vector(maker: LabelMaker, labels: Mapping[str, float]) -> Vector:
    """The vector [S] of labels by name; missing ones are 0. Raises StyleError."""
    _check_known(maker, labels)
    classes = [name for name in labels if name in maker.class_names]
    attributes = [name for name in labels if name not in maker.class_names]
    if classes and attributes:
        raise StyleError(
            f"{attributes[0]} is an attribute and {classes[0]} a class, and an image of this model has one or the "
            "other: give labels of one kind"
        )
    try:
        vector = np.array([labels.get(name, 0.0) for name in maker.names], np.float32)
    except (TypeError, ValueError) as error:
        raise StyleError(f"labels must be numbers, not {dict(labels)} ({error}): give 1 or 0 for each") from error
    if not np.isfinite(vector).all():
        raise StyleError(f"labels must be finite numbers, not {dict(labels)}: replace infinity and NaN")
    if maker.has_both:
        vector = np.append(vector, np.array([not classes, bool(classes)], np.float32))
    return vector


def whole_vector(maker: LabelMaker, numbers: Sequence[float]) -> Vector:
    """The vector [S] from one number for each label, in order. A model of two data sets has two more, which say whose
    labels these are; they may be left out. Raises StyleError."""
    if len(numbers) == maker.size:
        return np.array(numbers, np.float32)
    if len(numbers) != len(maker.names):
        raise StyleError(
            f"{len(numbers)} {'label is' if len(numbers) == 1 else 'labels are'} given, but the bundle has "
            f"{len(maker.names)}: give a number for each of {', '.join(maker.names)}"
        )
    given = dict(zip(maker.names, numbers, strict=True))
    return label_vector(maker, {name: number for name, number in given.items() if number})


def target_labels(
    maker: LabelMaker,
    *,
    on: Collection[str] = (),
    off: Collection[str] = (),
    flip: Collection[str] = (),
    has: Collection[str] | None = None,
) -> Vector:
    """The vector [S] after changing an image's attributes `has`; or that of a class, which must be alone in `on`.
    Raises StyleError."""
    asked = [*on, *off, *flip]
    _check_known(maker, [*asked, *(has or ())])
    twice = {name for name in asked if asked.count(name) > 1}
    if twice:
        raise StyleError(f"{sorted(twice)[0]} is named more than once in set, unset and flip: name it once")
    classes = [name for name in asked if name in maker.class_names]
    if classes:
        if len(asked) > 1 or list(on) != classes:
            raise StyleError(f"{classes[0]} is a class, and an image has exactly one: set it alone")
        return label_vector(maker, {classes[0]: 1.0})
    colours = [name for name in (*on, *flip) if name in HAIR_COLOURS]
    if len(colours) > 1:
        raise StyleError(f"{' and '.join(colours)} exclude each other: set or flip one of them")
    if has is None:
        raise StyleError(
            "the source's attributes are unknown: list them in `has` (it may be empty), or pass the source as `image`"
        )
    names = maker.attribute_names
    wrong = [name for name in has if name not in names]
    if wrong:
        raise StyleError(f"{wrong[0]} is a class, not an attribute: leave it out of `has`")
    own = np.array([name in has for name in names], np.float32)
    changed = change_labels(own, names, on=on, off=off, flip=flip)
    return label_vector(maker, dict(zip(names, changed.tolist(), strict=True)))


def _check_known(maker: LabelMaker, labels: Collection[str]) -> None:
    unknown = [name for name in labels if name not in maker.names]
    if unknown:
        raise StyleError(f"there is no label {unknown[0]!r}: the bundle has {', '.join(maker.names)}")
