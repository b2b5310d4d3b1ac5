"""Export's options for what an official StarGAN v1 file does not hold: label names, label kinds, and the image size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from starcast.errors import CheckpointError, OptionError
from starcast.export.families.naming import name_domains
from starcast.export.families.stargan_v1_names import name_labels
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.families.stargan_v1.networks import StarGANv1Config

FIVE = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
EIGHT = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


def _official(attributes: int, classes: int = 0, *, discriminator: bool = False) -> Checkpoint:
    config = StarGANv1Config(attributes=attributes, classes=classes)
    return Checkpoint(
        path=Path("200000-G.ckpt"), layout="official", family="stargan_v1", config=config,
        domain_names=tuple(map(str, range(config.domains))), step=200000, averaged={},
        networks={} if discriminator else None,
    )  # fmt: skip


def _ours(attributes: int, classes: int) -> Checkpoint:
    config = StarGANv1Config(attributes=attributes, classes=classes)
    return Checkpoint(
        path=Path("step.pt"), layout="starcast", family="stargan_v1", config=config,
        domain_names=tuple(f"n{number}" for number in range(config.domains)), step=1, averaged={},
    )  # fmt: skip


def _named(checkpoint: Checkpoint, **options: Any) -> tuple[tuple[str, ...], int, int]:
    named = name_labels(checkpoint, ExportOptions(**options))
    return named.domain_names, named.config.attributes, named.config.classes


@pytest.mark.parametrize("discriminator", [False, True])
def test_names_say_whether_labels_are_attributes_or_classes(discriminator: bool) -> None:
    assert _named(_official(5, discriminator=discriminator), attributes=FIVE) == (FIVE, 5, 0)
    assert _named(_official(8, discriminator=discriminator), domains=EIGHT) == (EIGHT, 0, 8)


def test_two_data_sets_need_both_lists_and_two_bits_beside_them() -> None:
    with_bits = _official(15)  # a generator alone: 5 + 8 labels and 2 bits look like 15 attributes
    assert _named(with_bits, attributes=FIVE, domains=EIGHT) == (FIVE + EIGHT, 5, 8)
    # the discriminator shows that there are 13 labels, but not where the first set ends
    assert _named(_official(5, 8, discriminator=True), attributes=FIVE[:3], domains=(*FIVE[3:], *EIGHT))[1:] == (3, 10)


def test_our_own_checkpoints_can_be_renamed() -> None:
    assert _named(_ours(2, 0), attributes=("a", "b")) == (("a", "b"), 2, 0)
    assert _named(_ours(1, 1), domains=("a", "b")) == (("a", "b"), 1, 1)
    assert _named(_ours(1, 1), attributes=("a",), domains=("b",)) == (("a", "b"), 1, 1)
    assert _named(_ours(1, 1)) == (("n0", "n1"), 1, 1)


@pytest.mark.parametrize(("checkpoint", "options", "sentence"), [
    (_official(5), {"attributes": FIVE[:4]}, "--attributes has 4 names, and 200000-G.ckpt takes 5 labels"),
    (_official(5), {"attributes": (*FIVE, "x")}, "--attributes has 6 names, and 200000-G.ckpt takes 5 labels"),
    (_official(8), {"domains": ("a",)}, "--domains has 1 name, and 200000-G.ckpt takes 8 labels"),
    (_official(5), {"domains": FIVE}, "Black_Hair is an attribute, .* give --attributes instead"),
    (_official(5, discriminator=True), {"attributes": FIVE[:2], "domains": ("a", "b", "c")},
     "trained on one data set, so its 5 labels are attributes or classes: give one of --attributes and --domains"),
    (_official(15), {"attributes": FIVE, "domains": EIGHT[:7]}, r"have 5 \+ 7 names, and .* takes 13 labels of two"),
    (_official(5, 8, discriminator=True), {"attributes": FIVE}, "13 labels from two data sets: name the first set's"),
    (_official(5, 8, discriminator=True), {"domains": EIGHT}, "13 labels from two data sets: name the first set's"),
    (_ours(2, 0), {"attributes": ("a",)}, "--attributes has 1 name, but step.pt needs 2: give one for each"),
    (_ours(0, 2), {"attributes": ("a", "b")}, "has nothing for --attributes to name: leave it out"),
    (_ours(2, 0), {"domains": ("a",)}, "has 2 domains: give each its own name"),
    (_ours(2, 0), {"image_size": 64}, "--image-size is 64, but step.pt was trained at 128: leave it out"),
    (_official(5, discriminator=True), {"image_size": 64}, "was trained at 128: leave it out"),
])  # fmt: skip
def test_options_that_contradict_the_checkpoint_are_refused(
    checkpoint: Checkpoint, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        name_labels(checkpoint, ExportOptions(**options))


def test_a_name_stands_for_one_label() -> None:
    with pytest.raises(OptionError, match="Male is named twice in --attributes and --domains"):
        ExportOptions(attributes=("Male", "Young"), domains=("Male",))


@pytest.mark.parametrize("size", [32, 64, 256])
def test_the_size_is_given_where_the_generator_is_alone(size: int) -> None:
    sized = name_labels(_official(5), ExportOptions(attributes=FIVE, image_size=size))
    assert (sized.config.image_size, sized.note) == (size, None)
    with pytest.raises(CheckpointError, match="--image-size is 66: give a multiple of 4"):
        name_labels(_official(5), ExportOptions(image_size=66))


def test_labels_without_names_are_numbered_and_a_note_says_so() -> None:
    named = name_labels(_official(5), ExportOptions())
    assert named.domain_names == ("0", "1", "2", "3", "4")
    assert "does not name its 5 labels, so they are numbered: name them with --attributes" in (named.note or "")


def test_a_family_of_domains_has_no_attributes() -> None:
    with pytest.raises(OptionError, match=r"--attributes is for models that change attributes.*has domains: give"):
        name_domains(_ours(0, 2), ExportOptions(attributes=("a", "b")))
