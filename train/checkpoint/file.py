"""A training file, ours or official, as one Checkpoint; and ours written so that a killed process leaves the old one.

Ours is one dictionary: format, family, config, domain_names, step, averaged; a full one, from which a run resumes, has
networks, optimizers, options and dataset as well. A snapshot is a full one without networks and optimizers.

Format 1: the first.
"""

from __future__ import annotations

import dataclasses
import errno
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from starcast.atomic import atomic_path
from starcast.errors import CheckpointError
from starcast.train.checkpoint.foreign import GIVE_ONE, damaged_part, describe_content, describe_file, holds_objects
from starcast.train.families.stargan_v2.networks import AVERAGED, Networks, StarGANv2Config, empty_networks
from starcast.train.families.stargan_v2.official import infer_config, is_official, is_state_dict, unwrapped

FORMAT = 1
FAMILY = "stargan_v2"
NETWORKS = (*AVERAGED, "discriminator")

StateDicts = dict[str, dict[str, Tensor]]

# what torch's reader throws at damaged bytes
_THROWN = (RuntimeError, EOFError, LookupError, ArithmeticError, ValueError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a training file holds, on the CPU. State dicts by the networks' names, in float32.

    `layout` is "starcast" or "official". `networks` has the discriminator too. `dataset` has at least `name` and
    `path`. `note` is a sentence on what is unusual about the file, or None.
    """

    path: Path
    layout: str
    config: StarGANv2Config
    domain_names: tuple[str, ...]
    step: int | None
    averaged: StateDicts
    networks: StateDicts | None = None
    optimizers: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    dataset: dict[str, Any] | None = None
    note: str | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours or an official one, without running code from it. Raises CheckpointError."""
    path = Path(path)
    content = _load(path)
    if isinstance(content, Mapping) and "format" in content and "family" in content:
        checkpoint = _ours(path, content)
    elif is_official(content):
        checkpoint = _official(path, content)
    else:
        raise CheckpointError(f"{path} {describe_content(content)}, no StarGAN v2 checkpoint: {GIVE_ONE}")
    _check_weights(checkpoint)
    return checkpoint


def write_checkpoint(
    path: Path,
    *,
    config: StarGANv2Config,
    domain_names: tuple[str, ...],
    step: int,
    averaged: Networks,
    networks: Networks | None = None,
    optimizers: Mapping[str, Optimizer] | None = None,
    options: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint of ours, atomically; a snapshot where `networks` is None. Raises OSError."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "family": FAMILY,
        "config": dataclasses.asdict(config),
        "domain_names": list(domain_names),
        "step": step,
        "averaged": averaged.state_dicts(),
        "options": options,
        "dataset": dataset,
    }
    if networks is not None:
        content["networks"] = networks.state_dicts()
        content["optimizers"] = {name: optimizer.state_dict() for name, optimizer in (optimizers or {}).items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        torch.save(content, file)  # to an open file: torch hides why a path cannot be written


def averaged_networks(checkpoint: Checkpoint) -> Networks:
    """The averaged generator, mapping network and style encoder, in float32 on the CPU, ready for use."""
    networks = empty_networks(checkpoint.config, discriminator=False)
    for name, module in networks.items():
        module.load_state_dict(checkpoint.averaged[name])
    return networks.eval()


def _load(path: Path) -> Any:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}: {GIVE_ONE}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on old archives; what matters is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if holds_objects(path, str(error)):
            raise CheckpointError(
                f"{path} holds Python objects that would have to be run to be read, which is refused as unsafe: "
                "save its state_dicts alone with torch.save"
            ) from error
        raise CheckpointError(f"{path} {describe_file(path)}: {GIVE_ONE}") from error
    except OSError as error:
        # torch seeks to before the start of an archive that is cut short
        cut = error.errno == errno.EINVAL
        why = describe_file(path) if cut else f"cannot be read ({error.strerror or error})"
        raise CheckpointError(f"{path} {why}: {GIVE_ONE}") from error
    except _THROWN as error:
        raise CheckpointError(f"{path} {describe_file(path)}: {GIVE_ONE}") from error
    damaged = damaged_part(path)
    if damaged:
        raise CheckpointError(f"{path} is damaged (the checksum of {damaged} is wrong): copy or download it again")
    return content


def _ours(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    if content["family"] != FAMILY:
        raise CheckpointError(
            f"{path} is of the family {content['family']!r}, which this starcast does not know: update"
        )
    if not isinstance(content["format"], int) or content["format"] < 1:
        raise CheckpointError(f"{path} is damaged (format {content['format']!r}): give another checkpoint of the run")
    if content["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {content['format']}, newer than this starcast's ({FORMAT}): update")
    try:
        checkpoint = Checkpoint(
            path=path,
            layout="starcast",
            config=StarGANv2Config(**content["config"]),
            domain_names=tuple(content["domain_names"]),
            step=content["step"],
            averaged=_copied(content["averaged"], AVERAGED),
            networks=_copied(content["networks"], NETWORKS) if "networks" in content else None,
            optimizers=content.get("optimizers"),
            options=content["options"],
            dataset=content["dataset"],
        )
        _check_facts(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}): give another checkpoint of the run") from error
    return checkpoint


def _check_facts(checkpoint: Checkpoint) -> None:
    """What stands beside the weights has the right types, and the configuration is that of the weights."""
    names, step = checkpoint.domain_names, checkpoint.step
    if not all(isinstance(name, str) for name in names) or len(names) != checkpoint.config.domains:
        raise ValueError(f"{checkpoint.config.domains} domains are named {names!r}")
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"step {step!r}")
    for part in (checkpoint.optimizers, checkpoint.options, checkpoint.dataset):
        if part is not None and not isinstance(part, Mapping):
            raise TypeError(f"a table is expected, not {part!r}")
    found = infer_config(checkpoint.averaged, str(checkpoint.path))
    for fact in ("image_size", "domains", "style_dim", "latent_dim", "mapping_width", "first_channels"):
        if getattr(found, fact) != getattr(checkpoint.config, fact):
            raise ValueError(f"{fact} {getattr(checkpoint.config, fact)!r} is not the weights' {getattr(found, fact)}")


def _copied(states: Mapping[str, Mapping[str, Tensor]], names: tuple[str, ...]) -> StateDicts:
    copied = {name: dict(states[name]) for name in names}
    for name, state in copied.items():
        if not is_state_dict(state):
            raise ValueError(f"{name} is no state_dict")
    return copied


def _official(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    states: StateDicts = {
        name: {key: _as_float32(value) for key, value in unwrapped(content[name]).items()}
        for name in NETWORKS
        if isinstance(content.get(name), Mapping)
    }
    averaged = {name: states[name] for name in AVERAGED}
    config = infer_config(averaged, str(path))
    raw = "discriminator" in states
    digits = path.name.partition("_")[0]
    return Checkpoint(
        path=path,
        layout="official",
        config=config,
        domain_names=tuple(str(number) for number in range(config.domains)),
        step=int(digits) if digits.isdecimal() else None,
        averaged=averaged,
        networks=states if raw else None,
        note=f"{path} holds networks that are not averaged: the *_nets_ema.ckpt beside it is smoother" if raw else None,
    )


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if _is_plain(value) else value


def _check_weights(checkpoint: Checkpoint) -> None:
    """Every parameter is there, has the shape that the configuration gives it, and is finite."""
    _check_parameters(checkpoint.path, checkpoint.averaged, checkpoint.config)
    if checkpoint.networks is not None:
        _check_parameters(checkpoint.path, checkpoint.networks, checkpoint.config)


def _check_parameters(path: Path, states: StateDicts, config: StarGANv2Config) -> None:
    for network, module in empty_networks(config, discriminator="discriminator" in states).items():
        state, shapes = states[network], {name: value.shape for name, value in module.state_dict().items()}
        for name, shape in shapes.items():
            value = state.get(name)
            if value is None:
                raise CheckpointError(f"{path} lacks {network}.{name}: give a whole checkpoint")
            if value.shape != shape:
                raise CheckpointError(
                    f"{path} has {network}.{name} of shape {tuple(value.shape)} where {tuple(shape)} belongs: give a "
                    "checkpoint of the plain StarGAN v2"
                )
            if not _is_plain(value):
                raise CheckpointError(f"{path} has {network}.{name} that is not plain numbers: give a plain checkpoint")
            if not torch.isfinite(value).all():
                raise CheckpointError(f"{path} has {network}.{name} that is not finite: give an earlier one")
        for surplus in state.keys() - shapes.keys():
            del state[surplus]  # buffers of forks; nothing of ours reads them


def _is_plain(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout == torch.strided and not value.is_meta and not value.is_quantized
