"""Read a training file, ours or official, as a Checkpoint; write ours so that a killed process leaves the old file.

Ours is one dictionary: format, family, config, domain_names, step, averaged, options and dataset; parent, if the run
started from another checkpoint; and members, if it is an average of several. A full checkpoint, from which a run can
resume, also has networks and optimizers. A snapshot lacks them.

Format 1 is the first.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import hashlib
import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.optim import Optimizer

from starcast.atomic import atomic_path
from starcast.errors import CheckpointError, printable, reason_of
from starcast.train.checkpoint.content import Checkpoint, StateDicts, check_weights, is_state_dict
from starcast.train.checkpoint.foreign import (
    GIVE_ONE,
    describe_content,
    describe_file,
    describe_objects,
    find_damaged_part,
    holds_objects,
)
from starcast.train.checkpoint.sizes import check_claimed_size, check_tensors, too_large
from starcast.train.families import FAMILIES, family
from starcast.train.families.base import Config, NetworkSet

FORMAT = 1

_PLAIN_CLASSES: list[Any] = [argparse.Namespace]  # holds a training's arguments; reading it runs no code

# what torch's reader raises for damaged bytes
_THROWN = (RuntimeError, EOFError, LookupError, ArithmeticError, ValueError, TypeError, AttributeError, AssertionError)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours or an official one, without running code from it. Raises CheckpointError."""
    path = Path(path)
    content = _read_folder(path) if path.is_dir() else read_content(path)
    if isinstance(content, Mapping) and "format" in content and "family" in content:
        checkpoint = _ours(path, content)
    else:
        checkpoint = _official(path, content)
    check_weights(checkpoint)
    return checkpoint


def write_checkpoint(
    path: Path,
    *,
    config: Config,
    domain_names: tuple[str, ...],
    step: int,
    averaged: NetworkSet,
    networks: NetworkSet | None = None,
    optimizers: Mapping[str, Optimizer] | None = None,
    options: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    parent: Mapping[str, Any] | None = None,
    members: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a checkpoint of ours, atomically; a snapshot if `networks` is None. Raises OSError."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "family": config.family,
        "config": dataclasses.asdict(config),
        "domain_names": list(domain_names),
        "step": step,
        "averaged": averaged.state_dicts(),
        "options": options,
        "dataset": dataset,
    }
    if parent is not None:
        content["parent"] = dict(parent)
    if members:
        content["members"] = [dict(member) for member in members]
    if networks is not None:
        content["networks"] = networks.state_dicts()
        content["optimizers"] = {name: optimizer.state_dict() for name, optimizer in (optimizers or {}).items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        _save(content, file)


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    """Save into an open file, because torch hides why a path cannot be written. Raises OSError.

    After an error of the file, torch closes its archive, fails at that, too, and raises a RuntimeError instead.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause is None:
            raise
        raise cause from None


def hash_of(path: Path) -> str:
    """The SHA-256 of a checkpoint in hexadecimal digits; of one of several files, that of their names and hashes.

    Raises CheckpointError if it cannot be read.
    """
    try:
        if path.is_dir():
            listing = "".join(f"{name} {hash_of(file)}\n" for name, file in sorted(_parts_of(path).items()))
            return hashlib.sha256(listing.encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{printable(path)} cannot be read ({reason_of(error)}): {GIVE_ONE}") from error


def record_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a file made from a checkpoint records of it: which file it was, and what that one was made from."""
    record: dict[str, Any] = {
        "path": str(checkpoint.path.resolve()),
        "sha256": hash_of(checkpoint.path),
        "family": checkpoint.family,
        "layout": checkpoint.layout,
        "step": checkpoint.step,
        "domains": list(checkpoint.domain_names),
    }
    if checkpoint.parent is not None:
        record["parent"] = dict(checkpoint.parent)
    if checkpoint.members:
        record["members"] = [dict(member) for member in checkpoint.members]
    return record


def averaged_networks(checkpoint: Checkpoint) -> Any:
    """The averaged networks as the family's NetworkSet, in float32 on the CPU, ready for use.

    Raises CheckpointError if the checkpoint lacks a network that no step changes.
    """
    return filled_networks(checkpoint.averaged, checkpoint.family, checkpoint.config, checkpoint.path)


def filled_networks(states: StateDicts, name: str, config: Config, path: Path, *, whole: bool = True) -> Any:
    """The NetworkSet of a family, by its name, with these values, ready for use; `path` is the file they come from.

    Without `whole`, a network that no step changes may be missing. Raises CheckpointError.
    """
    kind = family(name)
    networks = kind.empty_networks(config, training=False)
    for part, module in list(networks.items()):
        if part in states:
            module.load_state_dict(states[part])
        elif whole:
            raise CheckpointError(f"{printable(path)} {kind.fixed[part]}")
        else:
            setattr(networks, part, None)
    return networks.eval()


def read_content(path: Path, give: str = GIVE_ONE) -> Any:
    """What a file holds, its claims checked against its size. `give`: the advice of errors. Raises CheckpointError."""
    content = _load(path, give)
    check_tensors(path, content)
    return content


def _read_folder(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint that is a folder, by the names that its family has for the files."""
    return {part: read_content(file) for part, file in _parts_of(path).items()}


def _parts_of(path: Path) -> Mapping[str, Path]:
    """The files of a checkpoint that is a folder, by the names that its family has for them."""
    for name in FAMILIES:
        files = family(name).checkpoint_files(path)
        if files is not None:
            return files
    raise CheckpointError(f"{path} is a folder: {GIVE_ONE}")


def _load(path: Path, give: str) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: {give}")
    check_claimed_size(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN_CLASSES):
            warnings.simplefilter("ignore")  # torch warns about old archives; errors below say what matters
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if holds_objects(path, str(error)):
            raise CheckpointError(f"{path} {describe_objects(path)}") from error
        raise CheckpointError(f"{path} {describe_file(path)}: {give}") from error
    except OSError as error:
        # torch seeks before the start of a truncated archive
        cut = error.errno == errno.EINVAL
        why = describe_file(path) if cut else f"cannot be read ({error.strerror or error})"
        raise CheckpointError(f"{path} {why}: {give}") from error
    except _THROWN as error:
        raise CheckpointError(f"{path} {describe_file(path)}: {give}") from error
    damaged = find_damaged_part(path)
    if damaged:
        raise CheckpointError(f"{path} is damaged (the checksum of {damaged} is wrong): copy or download it again")
    return content


def _ours(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    if content["family"] not in FAMILIES:
        raise CheckpointError(
            f"{path} belongs to family {content['family']!r}, which this version does not know: update starcast"
        )
    if not isinstance(content["format"], int) or content["format"] < 1:
        raise CheckpointError(f"{path} is damaged (format {content['format']!r}): give another checkpoint of the run")
    if content["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {content['format']}, newer than this version reads ({FORMAT}): update starcast"
        )
    kind = family(content["family"])
    try:
        checkpoint = Checkpoint(
            path=path,
            layout="starcast",
            family=content["family"],
            config=kind.read_config(content["config"]),
            domain_names=tuple(content["domain_names"]),
            step=content["step"],
            averaged=_copied(content["averaged"], kind.averaged, kind.fixed),
            networks=_copied(content["networks"], kind.trained, kind.fixed) if "networks" in content else None,
            optimizers=content.get("optimizers"),
            options=content["options"],
            dataset=content["dataset"],
            parent=content.get("parent"),
            members=tuple(content.get("members", ())),
        )
        _check_facts(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}): give another checkpoint of the run") from error
    return checkpoint


def _check_facts(checkpoint: Checkpoint) -> None:
    """Check the types of what is stored beside the weights, and that the configuration matches the weights."""
    names, step = checkpoint.domain_names, checkpoint.step
    if not all(isinstance(name, str) for name in names) or len(names) != checkpoint.config.domains:
        raise ValueError(f"{checkpoint.config.domains} domains are named {names!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"two domains have the same name in {names!r:.200}")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**63:
        raise ValueError(f"step {step!r:.40}")
    if any(too_large(part) for part in (vars(checkpoint.config), checkpoint.options, checkpoint.dataset)):
        raise ValueError("a number in it has more than 64 bits")
    for part in (
        checkpoint.optimizers, checkpoint.options, checkpoint.dataset, checkpoint.parent, *checkpoint.members,
    ):  # fmt: skip
        if part is not None and not isinstance(part, Mapping):
            raise TypeError(f"a table is expected, not {part!r}")
    family(checkpoint.family).check_config(checkpoint.config, checkpoint.averaged, str(checkpoint.path))


def _copied(states: Mapping[str, Mapping[str, Tensor]], names: tuple[str, ...], optional: Iterable[str]) -> StateDicts:
    copied = {name: dict(states[name]) for name in (*names, *(name for name in optional if name in states))}
    for name, state in copied.items():
        if not is_state_dict(state):
            raise ValueError(f"{name} is no state_dict")
    return copied


def _official(path: Path, content: Any) -> Checkpoint:
    """Read a file in a family's official layout."""
    for name in FAMILIES:
        checkpoint = family(name).read_official(path, content, read_content)
        if checkpoint is not None:
            return checkpoint
    titles = " or ".join(family(name).title for name in FAMILIES)
    raise CheckpointError(f"{path} {describe_content(content)}, no {titles} checkpoint: {GIVE_ONE}")
