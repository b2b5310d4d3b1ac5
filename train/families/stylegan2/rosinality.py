"""Files of rosinality's StyleGAN2: those that its training writes, and those that its converter makes.

training    g, d, g_ema, g_optim, d_optim, args (an argparse.Namespace), ada_aug_p; the step is the file's name
converted   g_ema and latent_avg (the mean style), perhaps g and d

The running path length is not in these files: a resumed run starts it again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from starcast.errors import printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts, is_state_dict
from starcast.train.checkpoint.unwrap import unwrap
from starcast.train.families.stylegan2.foreign_weights import (
    StateDict,
    infer_config,
    options_here,
    translate_optimizer,
    translate_state,
)
from starcast.train.families.stylegan2.networks import DOMAIN_NAMES, StyleGAN2Config

MEAN_SAMPLES = 4096  # styles that its own tools average where a file has no latent_avg

_PARTS = {
    "conv.weight": "conv.weight", "conv.modulation.weight": "conv.affine.weight",
    "conv.modulation.bias": "conv.affine.bias", "noise.weight": "noise_strength", "activate.bias": "bias",
    "bias": "bias",
}  # fmt: skip
_LAST = {"final_conv.0": "conv", "final_conv.1": "conv", "final_linear.0": "linear", "final_linear.1": "judge"}

AVERAGE_DECAY = 0.5 ** (32 / 10_000)  # fixed in its training
# argument of its training -> option here
_ARGUMENTS = {
    "batch": "batch_size", "iter": "steps", "lr": "learning_rate", "mixing": "style_mixing", "r1": "penalty_weight",
    "d_reg_every": "penalty_every", "path_regularize": "path_weight", "g_reg_every": "path_every",
    "path_batch_shrink": "path_share",
}  # fmt: skip


def is_rosinality(content: object) -> bool:
    """True for a dict that holds an averaged generator by this program's names."""
    return isinstance(content, Mapping) and is_state_dict(content.get("g_ema")) and _has_parts(content["g_ema"])


def _has_parts(state: StateDict) -> bool:
    return "input.input" in unwrap(state)


def read_rosinality(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    """The networks of such a file. Raises CheckpointError if they cannot be read."""
    averaged = _with_mean(translate_state(unwrap(content["g_ema"]), rename_generator), content.get("latent_avg"))
    networks: StateDicts | None = None
    if is_state_dict(content.get("g")) and is_state_dict(content.get("d")):
        networks = _with_mean(translate_state(unwrap(content["g"]), rename_generator), content.get("latent_avg"))
        networks |= translate_state(unwrap(content["d"]), rename_discriminator)
        networks["path_length"] = {"mean": torch.zeros(())}
    from_file = isinstance(content.get("latent_avg"), torch.Tensor)
    config = infer_config(
        networks or averaged, printable(path), mean_style="average" if from_file else "samples",
        mean_samples=MEAN_SAMPLES, fir_filter=_taps(content["g_ema"]),
    )  # fmt: skip
    optimizers, note = None, None
    if networks is not None and "g_optim" in content and "d_optim" in content:
        try:
            optimizers = {
                **_optimizer(content["g_optim"], content["g"], rename_generator, config),
                **_optimizer(content["d_optim"], content["d"], rename_discriminator, config),
            }
        except ValueError as error:
            note = f"{printable(path)}: {error}, so no run can resume from it"
    return Checkpoint(
        path=path,
        layout="official",
        family=config.family,
        config=config,
        domain_names=DOMAIN_NAMES,
        step=int(path.stem) if path.stem.isdecimal() else None,
        averaged=averaged,
        networks=networks,
        optimizers=optimizers,
        options=None if optimizers is None else options_here(config, _settings(content.get("args"))),
        note=note,
    )


def rename_generator(name: str) -> tuple[str, str] | None:
    """Network and name here of a parameter of its generator, which includes the mapping network."""
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return "mapping_network", f"linears.{int(match[1]) - 1}.{match[2]}"
    if name == "input.input":
        return "generator", "start"
    if match := re.fullmatch(r"noises\.(noise_\d+)", name):
        return "generator", match[1]
    if match := re.fullmatch(r"(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.(.+)", name):
        part = _PARTS.get(match[2])
        return ("generator", f"{_layer(match[1])}.{part}") if part else None
    return None


def _layer(name: str) -> str:
    kind, _, number = name.partition(".")
    if kind in ("conv1", "to_rgb1"):
        return "first" if kind == "conv1" else "to_image.0"
    if kind == "to_rgbs":
        return f"to_image.{int(number) + 1}"
    return f"{'convs' if int(number) % 2 else 'ups'}.{int(number) // 2}"


def rename_discriminator(name: str) -> tuple[str, str] | None:
    """Network and name here of a parameter of its discriminator."""
    if match := re.fullmatch(r"convs\.0\.\d\.(weight|bias)", name):
        return "discriminator", f"from_image.{match[1]}"
    if match := re.fullmatch(r"convs\.(\d+)\.(conv1|conv2|skip)\.\d\.(weight|bias)", name):
        return "discriminator", f"blocks.{int(match[1]) - 1}.{match[2]}.{match[3]}"
    if (match := re.fullmatch(r"(final_\w+\.\d)\.(weight|bias)", name)) and match[1] in _LAST:
        return "discriminator", f"{_LAST[match[1]]}.{match[2]}"
    return None


def _with_mean(states: StateDicts, mean: Any) -> StateDicts:
    """The generator's states with the mean style: the file's, or 0 where it has none."""
    mapping = states.setdefault("mapping_network", {})
    length = next((value.shape[-1] for value in mapping.values() if value.dim()), 0)
    mapping["mean"] = mean.float().flatten() if isinstance(mean, torch.Tensor) else torch.zeros(length)
    return states


def _settings(arguments: Any) -> dict[str, Any]:
    """The options that the arguments of its training stand for."""
    given = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    known = {here: given[there] for there, here in _ARGUMENTS.items() if there in given}
    return {"average_decay": AVERAGE_DECAY, **known}


def _taps(state: StateDict) -> tuple[float, ...]:
    """The filter's taps; the file stores their products with each other, times 4 in the generator."""
    kernel = next((value for name, value in state.items() if name.endswith("kernel")), None)
    if kernel is None or kernel.dim() != 2:
        return StyleGAN2Config.fir_filter
    rows = kernel.float().sum(1)
    return tuple(round(float(tap), 6) for tap in rows / rows.sum())


def _optimizer(state: Any, network: StateDict, rename: Any, config: StyleGAN2Config) -> dict[str, Any]:
    parameters = [name for name in unwrap(network) if not name.endswith("kernel") and not name.startswith("noises.")]
    return translate_optimizer(state, parameters, rename, config)
