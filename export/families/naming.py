"""What export's options add to a checkpoint: names of domains; and which options mean nothing to a family."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from starcast.errors import OptionError, printable
from starcast.export.options import ExportOptions
from starcast.train.checkpoint.content import Checkpoint


def name_domains(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint of a family that has domains only, with the given names. Raises OptionError."""
    if options.attributes:
        raise OptionError(
            f"--attributes is for models that change attributes, and {printable(checkpoint.path)} "
            f"({checkpoint.family}) has domains: give --domains"
        )
    if options.image_size is not None:
        refuse_other_size(checkpoint, options.image_size)
    return rename(checkpoint, options.domains or checkpoint.domain_names)


def refuse_names(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint of a family that makes images without a source, as it is. Raises OptionError for names, and for
    other options that mean nothing to it."""
    given = {"--domains": options.domains, "--attributes": options.attributes, "--calibrate": options.calibrate}
    for flag in (flag for flag, value in given.items() if value):
        raise OptionError(
            f"{flag} is given, but {printable(checkpoint.path)} ({checkpoint.family}) has neither domains nor sources: "
            "leave it out"
        )
    if options.image_size is not None:
        refuse_other_size(checkpoint, options.image_size)
    return checkpoint


def rename(checkpoint: Checkpoint, names: Sequence[str], flag: str = "--domains") -> Checkpoint:
    """The checkpoint with its domains' names, which `flag` gave. Raises OptionError unless each gets its own."""
    count = checkpoint.config.domains
    if len(names) != count or len(set(names)) != count:
        raise OptionError(
            f"{flag} names {', '.join(names)}, but {printable(checkpoint.path)} has {count} "
            f"{'domains' if flag == '--domains' else 'labels'}: give each its own name"
        )
    return dataclasses.replace(checkpoint, domain_names=tuple(names))


def refuse_other_size(checkpoint: Checkpoint, size: int) -> None:
    """Raise OptionError unless the checkpoint was trained at this size."""
    if size != checkpoint.config.image_size:
        raise OptionError(
            f"--image-size is {size}, but {printable(checkpoint.path)} was trained at {checkpoint.config.image_size}: "
            "leave it out"
        )
