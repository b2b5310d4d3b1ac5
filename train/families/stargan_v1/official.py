"""Official StarGAN v1 files: `200000-G.ckpt`, a generator's state_dict, and `200000-D.ckpt` beside it.

They hold no options. Sizes come from shapes and from the number of layers. The generator does not say how large its
images are, nor whether labels are attributes or classes: the discriminator tells the first, `--attributes` and
`--domains` of an export the second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from starcast.errors import CheckpointError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts, is_state_dict
from starcast.train.checkpoint.unwrap import in_float32, unwrap
from starcast.train.families.stargan_v1.networks import AVERAGED, MASK_BITS, StarGANv1Config
from starcast.train.families.stargan_v1.options import StarGANv1Network

StateDict = Mapping[str, Tensor]

DEFAULT = StarGANv1Network()  # the official sizes
CELEBA = 5  # attributes of the official runs with two data sets
_GENERATOR_FILE = re.compile(r"(?P<before>.*?)(?P<step>\d*)(?P<dash>[-_]?)G(?P<suffix>\.\w+)?", re.DOTALL)


def read_official(path: Path, content: Any, read: Callable[[Path], Any]) -> Checkpoint | None:
    """The networks of an official generator's file and of the discriminator's beside it; None if it is not one.

    Raises CheckpointError if one of them cannot be read, or they do not fit together.
    """
    if not is_state_dict(content) or not is_generator(state := unwrap(content)):
        return None
    states: StateDicts = {"generator": in_float32(state)}
    beside = _discriminator_beside(path)
    if beside is not None:
        states["discriminator"] = _read_discriminator(beside, read)
    config = infer_config(states, printable(path))
    match = _GENERATOR_FILE.fullmatch(path.name)
    return Checkpoint(
        path=path,
        layout="official",
        family=config.family,
        config=config,
        domain_names=tuple(str(number) for number in range(config.domains)),
        step=int(match["step"]) if match and match["step"] else None,
        averaged={name: states[name] for name in AVERAGED},
        networks=states if beside is not None else None,
        has_average=False,
        note=None if beside is not None else _without_discriminator(path, config),
    )


def is_generator(state: StateDict) -> bool:
    """True for parameters named as the original's, with a first layer of 7x7 that takes labels beside the image."""
    first, norm = state.get("main.0.weight"), state.get("main.1.weight")
    return (
        first is not None and norm is not None and first.dim() == 4 and norm.dim() == 1
        and tuple(first.shape[2:]) == (7, 7) and first.shape[1] > 3
    )  # fmt: skip


def is_discriminator(state: StateDict) -> bool:
    """True for parameters named as the original's discriminator."""
    first, names = state.get("main.0.weight"), {"conv1.weight", "conv2.weight"}
    return first is not None and first.dim() == 4 and tuple(first.shape[2:]) == (4, 4) and names <= set(state)


def infer_config(networks: Mapping[str, StateDict], origin: str) -> StarGANv1Config:
    """The configuration of a generator, and of a discriminator if there is one; `origin` names the file in errors.

    Without a discriminator, its sizes are the official ones. Raises CheckpointError for shapes that are not StarGAN
    v1's.
    """
    generator, discriminator = networks["generator"], networks.get("discriminator")
    width, inputs = generator["main.0.weight"].shape[:2]
    labels = inputs - 3
    sizes: dict[str, int] = {
        "generator_width": width,
        "residual_blocks": _count(r"main\.(\d+)\.main\.0\.weight", generator),
    }
    classes = 0
    if discriminator is not None:
        layers, last = _count(r"main\.(\d+)\.weight", discriminator), discriminator["conv2.weight"]
        named = last.shape[0]
        if named not in (labels, labels - MASK_BITS):
            raise CheckpointError(
                f"{origin} takes {labels} labels, and the discriminator beside it knows {named}: give the two files of "
                "one run, or move the other one away"
            )
        sizes |= {
            "discriminator_width": discriminator["main.0.weight"].shape[0],
            "discriminator_layers": layers,
            "image_size": last.shape[-1] << layers,
        }
        if named < labels:  # two data sets: their bits are no labels
            labels = named
            classes = named - min(CELEBA, named - 1)
    try:
        return StarGANv1Config(
            **{**_sizes_without_discriminator(), **sizes}, attributes=labels - classes, classes=classes
        )
    except ValueError as error:
        raise CheckpointError(
            f"{origin} has shapes that are not StarGAN v1's ({error}): give another checkpoint"
        ) from error


def check_config(config: StarGANv1Config, networks: Mapping[str, StateDict], origin: str) -> None:
    """Raise ValueError unless the configuration matches the generator's weights."""
    state = networks["generator"]
    width, inputs = state["main.0.weight"].shape[:2]
    blocks = _count(r"main\.(\d+)\.main\.0\.weight", state)
    actual = {"generator_width": width, "label_size": inputs - 3, "residual_blocks": blocks}
    for fact, value in actual.items():
        if getattr(config, fact) != value:
            raise ValueError(f"{fact} {getattr(config, fact)!r} is not the weights' {value}")


def describe_foreign(content: Mapping[Any, Any]) -> str | None:
    """Half a sentence on what a near miss of an official file holds, or None."""
    if is_state_dict(content) and is_discriminator(unwrap(content)):
        return "is a StarGAN v1 discriminator (the *-G.ckpt of the same step is the generator)"
    if is_state_dict(content) and "main.0.weight" in unwrap(content):
        return "is a network that resembles StarGAN v1's"
    return None


def _sizes_without_discriminator() -> dict[str, int]:
    return {name: getattr(DEFAULT, name) for name in ("image_size", "discriminator_width", "discriminator_layers")}


def _discriminator_beside(path: Path) -> Path | None:
    match = _GENERATOR_FILE.fullmatch(path.name)
    if match is None:
        return None
    beside = path.with_name(f"{match['before']}{match['step']}{match['dash']}D{match['suffix'] or ''}")
    return beside if beside.is_file() else None


def _read_discriminator(path: Path, read: Callable[[Path], Any]) -> dict[str, Tensor]:
    content = read(path)
    if not is_state_dict(content) or not is_discriminator(state := unwrap(content)):
        raise CheckpointError(
            f"{printable(path)} is no StarGAN v1 discriminator, although its name says so: move it away, or give the "
            "one of the same run"
        )
    return in_float32(state)


def _without_discriminator(path: Path, config: StarGANv1Config) -> str:
    return (
        f"{printable(path)} has no discriminator (-D.ckpt) beside it: the size of its images is taken to be "
        f"{config.image_size}x{config.image_size} (export --image-size gives another)"
    )


def _count(pattern: str, state: StateDict) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
