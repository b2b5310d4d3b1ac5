"""The configuration of StarGAN v2 networks, read from the shapes of their parameters.

Official files hold no options. Sizes are taken from shapes and from the number of blocks, never from the order or the
number of keys: a block of the style encoder is a halving down to 4x4, whatever the width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from starcast.errors import CheckpointError
from starcast.train.families.stargan_v2.networks import AVERAGED, StarGANv2Config

StateDict = Mapping[str, Tensor]

WRAPPED = "module."  # what DataParallel and DistributedDataParallel put before every name


def is_state_dict(value: object) -> bool:
    """True for a table of names and tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items())
    )


def is_official(content: object) -> bool:
    """True for a dict of state_dicts that holds the three networks by their official names."""
    return isinstance(content, Mapping) and all(is_state_dict(content.get(name)) for name in AVERAGED)


def unwrapped(state: StateDict) -> dict[str, Tensor]:
    """The same parameters without a leading `module.`."""
    return {name.removeprefix(WRAPPED): value for name, value in state.items()}


def infer_config(networks: Mapping[str, StateDict], origin: str) -> StarGANv2Config:
    """The configuration of generator, mapping network and style encoder; `origin` names the file in an error.

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
    if encoder_blocks > halvings:  # a block more than the two at the bottleneck account for
        raise CheckpointError(
            f"{origin} is a face model (w_hpf above 0), which starcast cannot read yet: give one trained with w_hpf 0"
        )
    return config


def _count(pattern: str, state: StateDict) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
