"""FAN's weights: the user's wing.ckpt from the official project, or a face checkpoint that has them under `fan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starcast.errors import CheckpointError, OptionError, printable
from starcast.images.landmarks import WING
from starcast.train.allocation import allocate
from starcast.train.checkpoint.content import is_plain, is_state_dict
from starcast.train.checkpoint.file import read_content
from starcast.train.checkpoint.unwrap import in_float32, unwrap
from starcast.train.families.stargan_v2.landmarks import FAN

if TYPE_CHECKING:
    from starcast.train.families.stargan_v2.networks import Networks
    from starcast.train.families.stargan_v2.options import StarGANv2Options

GIVE_WEIGHTS = f"give --landmarks {WING}"
NO_FAN = f"has no landmark network (fan), without which a face model cannot run: {GIVE_WEIGHTS}"
_PLACES = ("state_dict", "fan", "averaged")  # in wing.ckpt, an official checkpoint, and one of ours


def open_landmarks(path: Path) -> FAN:
    """FAN with the weights of a file, on the CPU, ready for use. Raises CheckpointError."""
    return filled_fan(read_landmarks_file(path))


def read_landmarks_file(path: Path) -> dict[str, Tensor]:
    """FAN's state_dict in float32, from wing.ckpt or a face checkpoint; other tensors of the file are ignored.

    Raises CheckpointError if a tensor is missing, of another shape, or not finite.
    """
    content = read_content(path, GIVE_WEIGHTS)
    state = _state_in(content)
    if state is None:
        raise CheckpointError(f"{printable(path)} holds no weights of the landmark network: {GIVE_WEIGHTS}")
    return pick_weights(state, printable(path))


def pick_weights(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """FAN's tensors out of a state_dict; `origin` names the file in errors. Raises CheckpointError."""
    plain = in_float32(unwrap(state))
    with torch.device("meta"):
        shapes = FAN().state_dict()
    weights: dict[str, Tensor] = {}
    for name, wanted in shapes.items():
        value = plain.get(name)
        if not wanted.is_floating_point():  # how many batches a norm has seen, which nothing reads
            weights[name] = torch.zeros_like(wanted, device="cpu") if value is None else value.reshape(wanted.shape)
            continue
        if value is None:
            raise CheckpointError(f"{origin} lacks {name} of the landmark network: {GIVE_WEIGHTS}")
        if value.shape != wanted.shape or not is_plain(value):
            raise CheckpointError(
                f"{origin} has {name} of shape {tuple(value.shape)} instead of {tuple(wanted.shape)}, so it belongs to "
                f"another landmark network: {GIVE_WEIGHTS}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{origin} has {name} of the landmark network with values that are not finite: {GIVE_WEIGHTS}"
            )
        weights[name] = value
    return weights


def complete_networks(
    networks: Networks,
    options: StarGANv2Options,
    stored: Mapping[str, Mapping[str, Tensor]],
    progress: Callable[[str], None],
) -> None:
    """Give a face model its landmark network, in place: the one that a checkpoint stores, else that of --landmarks.

    Raises CheckpointError, and OptionError if there is none, or if one is named for a model that needs none.
    """
    path = options.data.landmarks
    if not networks.generator.config.is_face_model:
        if path is not None:
            raise OptionError("--landmarks is only for face models: add --high-pass 1, or leave --landmarks out")
        return
    if "fan" in stored:
        if path is not None:
            progress(f"The checkpoint has its own landmark network, so {printable(path)} is not used")
        state = dict(stored["fan"])
    elif path is None:
        raise OptionError(f"--high-pass {options.network.high_pass:g} needs a landmark network: {GIVE_WEIGHTS}")
    else:
        state = read_landmarks_file(path)
    networks.fan = filled_fan(state)


def filled_fan(state: Mapping[str, Tensor]) -> FAN:
    """FAN with these weights, on the CPU, ready for use."""
    with torch.device("meta"):
        network = FAN()
    allocate(network)
    network.load_state_dict(state)
    return network


def _state_in(content: Any) -> Mapping[str, Tensor] | None:
    """The landmark network's part of a file's content, or None."""
    if not isinstance(content, Mapping):
        return None
    if is_state_dict(content):
        return content if any(name.endswith("l0.weight") for name in content) else None
    for place in _PLACES:
        if place in content:
            return _state_in(content[place])
    return None
