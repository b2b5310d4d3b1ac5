"""Official StarGAN v2 files: their networks, and the configuration read from the shapes of their parameters.

Official files hold no options. Sizes come from shapes and from the number of blocks, never from the order or number of
keys: each block of the style encoder halves the image, down to 4x4, whatever the width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from starcast.errors import CheckpointError
from starcast.train.checkpoint.content import Checkpoint, StateDicts, is_state_dict
from starcast.train.checkpoint.unwrap import in_float32, unwrap
from starcast.train.families.stargan_v2.networks import AVERAGED, TRAINED, StarGANv2Config

StateDict = Mapping[str, Tensor]

_NOT_AVERAGED = "{} holds networks that are not averaged; the *_nets_ema.ckpt beside it gives smoother results"


def read_official(path: Path, content: Any, read: Callable[[Path], Any]) -> Checkpoint | None:
    """The networks of an official file; None if it is not one. Raises CheckpointError if they cannot be read."""
    if not is_official(content):
        return None
    states: StateDicts = {
        name: in_float32(unwrap(content[name])) for name in TRAINED if isinstance(content.get(name), Mapping)
    }
    averaged = {name: states[name] for name in AVERAGED}
    config = infer_config(averaged, str(path))
    raw = "discriminator" in states
    digits = path.name.partition("_")[0]
    return Checkpoint(
        path=path,
        layout="official",
        family=config.family,
        config=config,
        domain_names=tuple(str(number) for number in range(config.domains)),
        step=int(digits) if digits.isdecimal() else None,
        averaged=averaged,
        has_average=not raw,
        networks=states if raw else None,
        note=_NOT_AVERAGED.format(path) if raw else None,
    )


def is_official(content: object) -> bool:
    """True for a dict of state_dicts that holds the three networks by their official names."""
    return isinstance(content, Mapping) and all(is_state_dict(content.get(name)) for name in AVERAGED)


def infer_config(networks: Mapping[str, StateDict], origin: str) -> StarGANv2Config:
    """The configuration of the three networks; `origin` names the file in errors.

    Raises CheckpointError for a face model (w_hpf above 0) and for shapes that are not StarGAN v2's.
    """
    generator, mapping, encoder = (networks[name] for name in AVERAGED)
    try:
        halvings = _count(r"shared\.(\d+)\.conv1\.weight", encoder)  # from image_size down to 4
        encoder_blocks = _count(r"encode\.(\d+)\.", generator)
        first = generator["from_rgb.weight"].shape[0]
        config = StarGANv2Config(
            image_size=4 << halvings,
            domains=_count(r"unshared\.(\d+)\.", mapping),
            style_dim=mapping["unshared.0.6.weight"].shape[0],
            latent_dim=mapping["shared.0.weight"].shape[1],
            mapping_width=mapping["shared.0.weight"].shape[0],
            channel_base=first * (4 << halvings),
            max_channels=encoder[f"shared.{halvings + 2}.weight"].shape[0],
        )
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{origin} names StarGAN v2's networks but lacks parts of them ({str(error).strip(chr(39))}): "
            "give a whole *_nets_ema.ckpt"
        ) from error
    if encoder_blocks > halvings:  # a model without w_hpf has halvings - 2 blocks and two at the bottleneck
        raise CheckpointError(
            f"{origin} is a face model (w_hpf above 0), which starcast cannot read yet: give a checkpoint "
            "trained with w_hpf 0"
        )
    return config


def check_config(config: StarGANv2Config, networks: Mapping[str, StateDict], origin: str) -> None:
    """Raise ValueError unless the configuration matches the weights."""
    inferred = infer_config(networks, origin)
    for fact in ("image_size", "domains", "style_dim", "latent_dim", "mapping_width", "first_channels"):
        if getattr(inferred, fact) != getattr(config, fact):
            raise ValueError(f"{fact} {getattr(config, fact)!r} is not the weights' {getattr(inferred, fact)}")


def describe_foreign(content: Mapping[Any, Any]) -> str | None:
    """Half a sentence on what a near miss of an official file holds, or None."""
    names = {str(name) for name in content}
    parts = [part for part in content.values() if isinstance(part, Mapping)]
    if parts and all({"state", "param_groups"} <= set(part) for part in parts):
        return "holds the state of optimisers (an *_optims.ckpt; the *_nets_ema.ckpt is beside it)"
    if "generator" in names and "hpf.filter" in _names_of(content["generator"]):
        return "holds the generator of a face model (w_hpf above 0), which starcast cannot read yet"
    if names == {"generator"} or {"generator", "fan"} == names:
        return "holds a generator alone, without mapping network and style encoder"
    if is_state_dict(content) and any(name.startswith(("from_rgb.", "encode.")) for name in _names_of(content)):
        return "is the state_dict of a generator alone, without mapping network and style encoder"
    return None


def _names_of(state: object) -> set[str]:
    return set(unwrap({str(name): value for name, value in state.items()})) if isinstance(state, Mapping) else set()


def _count(pattern: str, state: StateDict) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
