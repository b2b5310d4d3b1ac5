"""Networks of another program under this family's names: weights, optimisers, and the sizes read from their shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from starcast.errors import CheckpointError, OptionError
from starcast.options import flat_fields
from starcast.train.checkpoint.content import StateDicts, is_plain
from starcast.train.families.stylegan2.networks import StyleGAN2Config, empty_networks
from starcast.train.families.stylegan2.options import StyleGAN2Network

StateDict = Mapping[str, Tensor]
# a parameter's name there -> network and name here; None: a buffer that is computed here
Rename = Callable[[str], tuple[str, str] | None]

_NO_MATCH = "the optimizers do not match the networks"


def translate_state(state: StateDict, rename: Rename) -> StateDicts:
    """The parameters of one state_dict by network and by name, in float32. Unknown ones are dropped."""
    states: StateDicts = {}
    for name, value in state.items():
        target = rename(name)
        if target is not None:
            network, key = target
            states.setdefault(network, {})[key] = as_stored_here(key, value)
    return states


def as_stored_here(key: str, value: Tensor) -> Tensor:
    """A parameter, or a moment of it, in float32 and in this program's shape: other programs add dimensions of 1."""
    if not is_plain(value):
        return value
    value = value.float()
    if key.endswith("noise_strength") and value.numel() == 1:
        return value.reshape(())
    if key.endswith("bias"):
        return value.flatten()
    return value[0] if value.dim() == 5 and len(value) == 1 else value


def translate_optimizer(
    optimizer: Any, parameters: Sequence[str], rename: Rename, config: StyleGAN2Config
) -> dict[str, dict[str, Any]]:
    """The state of one Adam as one state_dict for each network that it trains.

    `parameters` are the names of its parameters there, in its order. Raises ValueError if they do not match.
    """
    try:
        moments: Mapping[int, Mapping[str, Any]] = optimizer["state"]
        numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
        names = dict(zip(numbers, parameters, strict=True))
        targets = {number: target for number, name in names.items() if (target := rename(name)) is not None}
        here: dict[str, dict[str, Mapping[str, Any]]] = {}
        for number, (network, key) in targets.items():
            here.setdefault(network, {})
            if number in moments:
                here[network][key] = {
                    name: as_stored_here(key, value) if name.startswith("exp_avg") else value
                    for name, value in moments[number].items()
                }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(_NO_MATCH) from error
    networks = dict(empty_networks(config, training=True).items())
    return {network: _adam(here[network], dict(networks[network].named_parameters())) for network in here}


def _adam(moments: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    for name, values in moments.items():
        shapes = {value.shape for key, value in values.items() if key.startswith("exp_avg")}
        if name not in parameters or not shapes <= {parameters[name].shape}:
            raise ValueError(_NO_MATCH)
    state = {number: dict(moments[name]) for number, name in enumerate(parameters) if name in moments}
    return {"state": state, "param_groups": [{"params": list(range(len(parameters)))}]}


def infer_config(states: Mapping[str, StateDict], origin: str, **facts: Any) -> StyleGAN2Config:
    """The configuration of networks with this family's names; `facts` are what shapes do not tell.

    Raises CheckpointError, which names the file `origin`, if the shapes are not StyleGAN2's.
    """
    mapping, generator = states["mapping_network"], states["generator"]
    discriminator = states.get("discriminator", {})
    try:
        count = _count(r"to_image\.(\d+)\.", generator)
        widths = tuple(generator[f"to_image.{number}.conv.weight"].shape[1] for number in range(count))
        own: tuple[int, ...] = ()
        if discriminator:
            blocks = [discriminator[f"blocks.{number}.conv1.weight"].shape[0] for number in range(count - 1)]
            last = discriminator["conv.weight"].shape
            own = (last[0], *reversed(blocks))
            facts = {"deviation_channels": last[1] - last[0], **facts}
        return StyleGAN2Config(
            image_size=2 << count,
            channels=generator["to_image.0.conv.weight"].shape[0],
            latent_dim=mapping["linears.0.weight"].shape[1],
            mapping_depth=_count(r"linears\.(\d+)\.", mapping),
            widths=widths,
            discriminator_widths=own if own != widths else (),
            **facts,
        )
    except TypeError as error:
        raise CheckpointError(f"{origin} has settings of the wrong type ({error}): give another checkpoint") from error
    except OptionError as error:
        raise CheckpointError(
            f"{origin} holds networks whose shapes are not StyleGAN2's ({error}): give another checkpoint"
        ) from error
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{origin} names StyleGAN2's networks but lacks parts of them ({str(error).strip(chr(39))}): give a whole "
            "checkpoint"
        ) from error


def options_here(config: StyleGAN2Config, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options as a checkpoint stores them: the networks' from the configuration, and plain `settings`."""
    network = {field.name: getattr(config, field.name) for field, _ in flat_fields(StyleGAN2Network)}
    numbers = {name: value for name, value in settings.items() if isinstance(value, int | float | str | list | tuple)}
    flat = {**network, **numbers}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def _count(pattern: str, state: StateDict) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
