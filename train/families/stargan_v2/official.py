"""Official StarGAN v2 files: their networks, and the configuration read from the shapes of their parameters.

Official files hold no options. Sizes come from shapes and from the number of blocks, never from the order or number of
keys: each block of the style encoder halves the image, down to 4x4, whatever the width.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from starcast.errors import CheckpointError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts, is_state_dict
from starcast.train.checkpoint.unwrap import in_float32, unwrap
from starcast.train.families.stargan_v2.landmark_weights import GIVE_WEIGHTS, pick_weights
from starcast.train.families.stargan_v2.layers import high_pass_filter
from starcast.train.families.stargan_v2.networks import AVERAGED, TRAINED, StarGANv2Config

StateDict = Mapping[str, Tensor]

FILTER = "hpf.filter"

_NOT_AVERAGED = "{} holds networks that are not averaged; the *_nets_ema.ckpt beside it gives smoother results"
_NO_FILTER = "{} stores no high-pass filter, like the released CelebA-HQ file, so that of w_hpf 1 is used"
_NO_FAN = f"{{}} has no landmark network (fan), which a face model needs to translate: {GIVE_WEIGHTS}"


def read_official(path: Path, content: Any, read: Callable[[Path], Any]) -> Checkpoint | None:
    """The networks of an official file; None if it is not one. Raises CheckpointError if they cannot be read."""
    if not is_official(content):
        return None
    states: StateDicts = {
        name: in_float32(unwrap(content[name])) for name in TRAINED if isinstance(content.get(name), Mapping)
    }
    averaged = {name: states[name] for name in AVERAGED}
    config = infer_config(averaged, str(path))
    notes = []
    if config.is_face_model:
        if FILTER not in averaged["generator"]:
            averaged["generator"][FILTER] = high_pass_filter(config.high_pass)
            notes.append(_NO_FILTER.format(printable(path)))
        if is_state_dict(content.get("fan")):
            averaged["fan"] = states["fan"] = pick_weights(content["fan"], printable(path))
        else:
            notes.append(_NO_FAN.format(printable(path)))
    raw = "discriminator" in states
    if raw:
        notes.append(_NOT_AVERAGED.format(path))
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
        note="; ".join(notes) or None,
    )


def is_official(content: object) -> bool:
    """True for a dict of state_dicts that holds the three networks by their official names."""
    return isinstance(content, Mapping) and all(is_state_dict(content.get(name)) for name in AVERAGED)


def infer_config(networks: Mapping[str, StateDict], origin: str) -> StarGANv2Config:
    """The configuration of the three networks; `origin` names the file in errors.

    A face model is known by its number of encode blocks, since its filter may be missing. Raises CheckpointError for
    shapes that are not StarGAN v2's.
    """
    generator, mapping, encoder = (networks[name] for name in AVERAGED)
    try:
        halvings = _count(r"shared\.(\d+)\.conv1\.weight", encoder)  # from image_size down to 4
        encoder_blocks = _count(r"encode\.(\d+)\.", generator)
        # the style encoder halves the image to 4 px, the generator to 16 px, and a face model's to 8 px; then come two
        high_pass = _strength(generator) if encoder_blocks > halvings else 0.0
        first = generator["from_rgb.weight"].shape[0]
        config = StarGANv2Config(
            image_size=4 << halvings,
            domains=_count(r"unshared\.(\d+)\.", mapping),
            style_dim=mapping["unshared.0.6.weight"].shape[0],
            latent_dim=mapping["shared.0.weight"].shape[1],
            mapping_width=mapping["shared.0.weight"].shape[0],
            channel_base=first * (4 << halvings),
            max_channels=encoder[f"shared.{halvings + 2}.weight"].shape[0],
            high_pass=high_pass,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{origin} names StarGAN v2's networks but lacks parts of them ({str(error).strip(chr(39))}): "
            "give a whole *_nets_ema.ckpt"
        ) from error
    if encoder_blocks > halvings + 1:
        raise CheckpointError(
            f"{origin} has {encoder_blocks} encode blocks in its generator, more than a StarGAN v2 of "
            f"{config.image_size} px: give a checkpoint of the plain StarGAN v2"
        )
    return config


def check_config(config: StarGANv2Config, networks: Mapping[str, StateDict], origin: str) -> None:
    """Raise ValueError unless the configuration matches the weights."""
    inferred = infer_config(networks, origin)
    for fact in ("image_size", "domains", "style_dim", "latent_dim", "mapping_width", "first_channels", "high_pass"):
        if getattr(inferred, fact) != getattr(config, fact):
            raise ValueError(f"{fact} {getattr(config, fact)!r} is not the weights' {getattr(inferred, fact)}")


def describe_foreign(content: Mapping[Any, Any]) -> str | None:
    """Half a sentence on what a near miss of an official file holds, or None."""
    names = {str(name) for name in content}
    parts = [part for part in content.values() if isinstance(part, Mapping)]
    if parts and all({"state", "param_groups"} <= set(part) for part in parts):
        return "holds the state of optimisers (an *_optims.ckpt; the *_nets_ema.ckpt is beside it)"
    if names == {"generator"} or {"generator", "fan"} == names:
        return "holds a generator alone, without mapping network and style encoder"
    if is_state_dict(content) and any(name.startswith(("from_rgb.", "encode.")) for name in _names_of(content)):
        return "is the state_dict of a generator alone, without mapping network and style encoder"
    return None


def _strength(generator: StateDict) -> float:
    """The official w_hpf of a face model, from its filter; 1 where the file has none. Raises ValueError."""
    stored = generator.get(FILTER)
    if stored is None:
        return 1.0
    centre = float(stored[1, 1])
    if not 0 < centre < math.inf:
        raise ValueError(f"a filter with the centre {centre}")
    return float(f"{8 / centre:.6g}")  # 8 / W was rounded to float32


def _names_of(state: object) -> set[str]:
    return set(unwrap({str(name): value for name, value in state.items()})) if isinstance(state, Mapping) else set()


def _count(pattern: str, state: StateDict) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
