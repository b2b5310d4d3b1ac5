"""What export's options add to a StarGAN v1 checkpoint that does not hold it: label names and kinds, the image size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from starcast.attributes import HAIR_COLOURS
from starcast.errors import CheckpointError, OptionError, printable
from starcast.export.families.naming import refuse_other_size, rename
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint


def name_labels(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint of a family that is steered by labels, with the given names; in an official one, the options also
    decide which labels are attributes and which classes. Raises OptionError, and CheckpointError for bad sizes."""
    checkpoint = _with_size(checkpoint, options.image_size)
    attributes, domains, config = options.attributes, options.domains, checkpoint.config
    if not attributes and not domains:
        return checkpoint if checkpoint.layout != "official" else _note_numbered_labels(checkpoint)
    flag = " and ".join(name for name, given in (("--attributes", attributes), ("--domains", domains)) if given)
    if checkpoint.layout != "official":
        if attributes:
            _check_counts(checkpoint, {"--attributes": (attributes, config.attributes),
                                       "--domains": (domains, config.classes)})  # fmt: skip
        return rename(checkpoint, (*attributes, *domains), flag)
    if not attributes:
        _refuse_hair_colours(domains)
    is_both = config.attributes > 0 and config.classes > 0
    if is_both and not (attributes and domains):
        raise OptionError(
            f"{printable(checkpoint.path)} has {config.domains} labels from two data sets: name the first set's with "
            "--attributes, and the second's with --domains"
        )
    bits = 2 if attributes and domains else 0
    if len(attributes) + len(domains) + bits != config.label_size:
        raise OptionError(_wrong_count(checkpoint, attributes, domains))
    config = dataclasses.replace(config, attributes=len(attributes), classes=len(domains))
    return rename(dataclasses.replace(checkpoint, config=config), (*attributes, *domains), flag)


def _note_numbered_labels(checkpoint: Checkpoint) -> Checkpoint:
    note = (
        f"{printable(checkpoint.path)} does not name its {checkpoint.config.domains} labels, so they are numbered: "
        "name them with --attributes (classes with --domains), in the order used in training"
    )
    return dataclasses.replace(checkpoint, note="; ".join(filter(None, (checkpoint.note, note))))


def _with_size(checkpoint: Checkpoint, size: int | None) -> Checkpoint:
    """The checkpoint with the given size, if only its generator is there: a generator runs at any size."""
    if size is None:
        return checkpoint
    if checkpoint.layout != "official" or checkpoint.networks is not None:
        refuse_other_size(checkpoint, size)
        return checkpoint
    layers = min(checkpoint.config.discriminator_layers, max(1, size.bit_length() - 1))
    try:
        config = dataclasses.replace(checkpoint.config, image_size=size, discriminator_layers=layers)
    except OptionError as error:
        raise CheckpointError(f"{printable(checkpoint.path)} cannot be exported: {error}") from error
    return dataclasses.replace(checkpoint, config=config, note=None)


def _check_counts(checkpoint: Checkpoint, given: dict[str, tuple[Sequence[str], int]]) -> None:
    for flag, (names, count) in given.items():
        if len(names) != count:
            raise OptionError(
                f"{flag} has {_names(names)}, but {printable(checkpoint.path)} needs {count}: give one for each"
                if count else f"{printable(checkpoint.path)} has nothing for {flag} to name: leave it out"
            )  # fmt: skip


def _refuse_hair_colours(domains: Sequence[str]) -> None:
    colours = [name for name in domains if name in HAIR_COLOURS]
    if colours:
        raise OptionError(
            f"{colours[0]} is an attribute, and --domains names classes, of which an image has exactly one: give "
            "--attributes instead"
        )


def _wrong_count(checkpoint: Checkpoint, attributes: Sequence[str], domains: Sequence[str]) -> str:
    config, path = checkpoint.config, printable(checkpoint.path)
    is_both = config.attributes > 0 and config.classes > 0
    if attributes and domains:
        if not is_both and checkpoint.networks is not None:
            return (
                f"{path} was trained on one data set, so its {config.domains} labels are attributes or classes: give "
                "one of --attributes and --domains"
            )
        return (
            f"--attributes and --domains have {len(attributes)} + {len(domains)} names, and {path} takes "
            f"{config.label_size - 2} labels of two data sets: name each, in the order used in training"
        )
    flag, names = ("--attributes", attributes) if attributes else ("--domains", domains)
    count = config.label_size
    return f"{flag} has {_names(names)}, and {path} takes {count} labels: name each, in the order used in training"


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} {'name' if len(names) == 1 else 'names'}"
