"""Folders of lukau2357's StyleGAN2: MODEL/checkpoint_STEP/, with settings in MODEL/.metadata.json.

checkpoint_STEP/MN.pth, G.pth, D.pth        constructor arguments and state_dict of each network
checkpoint_STEP/MNE.pth, GE.pth             the averages, if the run had come that far
checkpoint_STEP/{MN,G,D}_optimizer.pth      Adam's state
checkpoint_STEP/G_plr.pth                   the running path length
checkpoint_STEP/.metadata.json              g_steps, d_steps

It resamples by interpolation, stores no constant noise, and keeps the mean style among the parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starcast.errors import CheckpointError, printable
from starcast.train.checkpoint.content import Checkpoint, StateDicts, is_state_dict
from starcast.train.checkpoint.unwrap import unwrap
from starcast.train.families.stylegan2.foreign_weights import (
    Rename,
    infer_config,
    options_here,
    translate_optimizer,
    translate_state,
)
from starcast.train.families.stylegan2.networks import DOMAIN_NAMES, StyleGAN2Config, stored_noise

SETTINGS = ".metadata.json"
LARGEST_SETTINGS = 2**24  # bytes: thousands of times what the program writes

_NETWORKS = ("MN", "G", "D")
_NEEDED = ("MN.pth", "G.pth")
_FILES = {
    *(f"{name}.pth" for name in (*_NETWORKS, "MNE", "GE")), *(f"{name}_optimizer.pth" for name in _NETWORKS),
    "G_plr.pth",
}  # fmt: skip
_FOLDER = re.compile(r"checkpoint_(\d+)")
_BLOCKS = {"gen_block_1": "ups.{}", "gen_block_2": "convs.{}", "trgb": "to_image.{}"}
_PARTS = {
    "noise_bias": "bias", "noise_scale": "noise_strength", "style_scale_map.b": "conv.affine.bias",
    "style_scale_map.w.weight": "conv.affine.weight", "conv.weight.weight": "conv.weight", "bias": "bias",
    "affine.b": "conv.affine.bias", "affine.w.weight": "conv.affine.weight",
}  # fmt: skip
_JUDGES = {"conv1": "conv1", "conv2": "conv2", "skip_conv": "skip"}
_LAST = {"conv": "conv", "fc.0": "linear", "fc.2": "judge"}


def checkpoint_files(folder: Path) -> dict[str, Path] | None:
    """The files of such a checkpoint by name; of a model's folder, its newest one's. None if it is neither."""
    place = newest_checkpoint(folder)
    if place is None:
        return None
    return {name.removesuffix(".pth"): place / name for name in sorted(_FILES) if (place / name).is_file()}


def newest_checkpoint(folder: Path) -> Path | None:
    """The folder itself if it is a checkpoint, or the one of the latest step in it."""
    if _is_checkpoint(folder):
        return folder
    steps = {int(match[1]): entry for entry in folder.iterdir() if (match := _FOLDER.fullmatch(entry.name))}
    whole = [step for step, entry in steps.items() if _is_checkpoint(entry)]
    return steps[max(whole)] if whole else None


def _is_checkpoint(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _NEEDED)


def read_lukau2357(path: Path, content: Mapping[str, Any]) -> Checkpoint | None:
    """The networks of such a checkpoint, whose files `content` holds by name; None if it is none.

    Raises CheckpointError if they cannot be read.
    """
    if not all(_is_network(content.get(name)) for name in ("MN", "G")):
        return None
    place = newest_checkpoint(path) or path
    raw = _states(content, "MN", "G")
    has_average = all(_is_network(content.get(name)) for name in ("MNE", "GE"))
    averaged = _states(content, "MNE", "GE") if has_average else _states(content, "MN", "G")
    whole = _is_network(content.get("D"))
    if whole:
        raw |= translate_state(unwrap(content["D"]["state_dict"]), rename_discriminator)
        running = content.get("G_plr")
        mean = running.get("a") if isinstance(running, Mapping) else None
        known = mean if isinstance(mean, Tensor) and mean.numel() == 1 else torch.zeros(())
        raw["path_length"] = {"mean": known.float().reshape(())}
    config = _config(raw, content, read_settings(place.parent), printable(path))
    for states in (raw, averaged):
        states["generator"] |= {f"noise_{number}": noise for number, noise in enumerate(stored_noise(config))}
        states["mapping_network"].setdefault("mean", torch.zeros(config.latent_dim))
    notes = [] if has_average else [f"{printable(place)} has no averaged networks (MNE.pth, GE.pth) yet"]
    optimizers = None
    if whole:
        try:
            optimizers = _optimizers(content, config)
        except ValueError as error:
            notes.append(f"{printable(place)}: {error}, so no run can resume from it")
    return Checkpoint(
        path=path,
        layout="official",
        family=config.family,
        config=config,
        domain_names=DOMAIN_NAMES,
        step=_step(place),
        averaged=averaged,
        has_average=has_average,
        networks=raw if whole else None,
        optimizers=optimizers,
        options=None if optimizers is None else _options(read_settings(place.parent), content, config),
        note="; ".join(notes) or None,
    )


def rename_mapping(name: str) -> tuple[str, str] | None:
    """Network and name here of a parameter of its mapping network."""
    if name == "w_ema":
        return "mapping_network", "mean"
    match = re.fullmatch(r"net\.(\d+)\.(b|w\.weight)", name)
    return ("mapping_network", f"linears.{int(match[1]) // 2}.{_kind(match[2])}") if match else None


def rename_generator(name: str) -> tuple[str, str] | None:
    """Network and name here of a parameter of its generator."""
    if name == "start_tensor":
        return "generator", "start"
    if match := re.fullmatch(r"(style_start|to_rgb_start)\.(.+)", name):
        layer, part = "first" if match[1] == "style_start" else "to_image.0", match[2]
    elif (match := re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(.+)", name)) and match[2] in _BLOCKS:
        number = int(match[1]) + (match[2] == "trgb")
        layer, part = _BLOCKS[match[2]].format(number), match[3]
    else:
        return None
    return ("generator", f"{layer}.{_PARTS[part]}") if part in _PARTS else None


def rename_discriminator(name: str) -> tuple[str, str] | None:
    """Network and name here of a parameter of its discriminator."""
    if match := re.fullmatch(r"from_rgb\.0\.(b|w\.weight)", name):
        return "discriminator", f"from_image.{_kind(match[1])}"
    if (match := re.fullmatch(r"disc_blocks\.(\d+)\.(\w+)\.(b|w\.weight)", name)) and match[2] in _JUDGES:
        return "discriminator", f"blocks.{match[1]}.{_JUDGES[match[2]]}.{_kind(match[3])}"
    if (match := re.fullmatch(r"last\.(conv|fc\.\d)\.(b|w\.weight)", name)) and match[1] in _LAST:
        return "discriminator", f"{_LAST[match[1]]}.{_kind(match[2])}"
    return None


_RENAMES: dict[str, Rename] = {
    "MN": rename_mapping, "MNE": rename_mapping, "G": rename_generator, "GE": rename_generator,
    "D": rename_discriminator,
}  # fmt: skip


def _kind(name: str) -> str:
    return "bias" if name == "b" else "weight"


def _is_network(part: object) -> bool:
    return isinstance(part, Mapping) and is_state_dict(part.get("state_dict"))


def _states(content: Mapping[str, Any], *names: str) -> StateDicts:
    states: StateDicts = {}
    for name in names:
        states |= translate_state(unwrap(content[name]["state_dict"]), _RENAMES[name])
    return {"mapping_network": states.get("mapping_network", {}), "generator": states.get("generator", {})}


def _config(
    states: StateDicts, content: Mapping[str, Any], settings: Mapping[str, Any], origin: str
) -> StyleGAN2Config:
    mapping, generator, discriminator = (content.get(name, {}) for name in _NETWORKS)
    facts: dict[str, Any] = {
        "resampling": "bilinear",
        "mapping_rate": mapping.get("lr_mul", StyleGAN2Config.mapping_rate),
        "mean_style": "average" if mapping.get("estimate_w", "mean" in states["mapping_network"]) else "samples",
        "fir_filter": _taps(generator.get("fir_filter"), origin),
        "tanh": bool(generator.get("use_tanh_last", False)),
        "mean_samples": settings.get("w_estimate_samples", StyleGAN2Config.mean_samples),
        "deviation_group": discriminator.get("mbstd_group_size", StyleGAN2Config.deviation_group),
    }
    return infer_config(states, origin, **facts)


def _taps(stored: Any, origin: str) -> tuple[float, ...]:
    if stored is None:
        return StyleGAN2Config.fir_filter
    if not isinstance(stored, list | tuple) or not all(isinstance(tap, int | float) for tap in stored):
        raise CheckpointError(f"{origin} has a filter that is no list of numbers: give another checkpoint")
    return tuple(float(tap) for tap in stored)


def _step(place: Path) -> int | None:
    step = read_settings(place).get("g_steps")
    if isinstance(step, int) and step >= 0:
        return step
    match = _FOLDER.fullmatch(place.name)
    return int(match[1]) if match else None


def read_settings(folder: Path) -> dict[str, Any]:
    """The folder's .metadata.json; empty if there is none that can be read."""
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST_SETTINGS else None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


# setting of its training -> option here
_SETTINGS = {
    "loss_type": "loss_type", "style_mixing_prob": "style_mixing", "disc_optim_steps": "d_steps",
    "learning_rate": "learning_rate", "adam_beta1": "beta1", "adam_beta2": "beta2", "adam_eps": "epsilon",
    "gen_ema_beta": "average_decay", "ema_steps_threshold": "average_start", "save_total_limit": "keep",
    "truncation_psi_inference": "sample_psi", "style_mixing_prob_inference": "sample_mixing",
}  # fmt: skip


def _options(settings: Mapping[str, Any], content: Mapping[str, Any], config: StyleGAN2Config) -> dict[str, Any]:
    """The options that a model's settings stand for. Its path lengths are those of whole batches."""
    known = {here: settings[there] for there, here in _SETTINGS.items() if there in settings}
    known |= _penalty(settings, "use_gp", "gp_weight", "lazy_reg_steps_discriminator", "penalty")
    known |= _penalty(settings, "use_plr", "pl_weight", "lazy_reg_steps_generator", "path")
    if isinstance(beta := settings.get("pl_beta"), float):
        known["path_decay"] = 1 - beta
    if isinstance(beta := content["MN"].get("w_ema_beta"), float):
        known["mean_decay"] = beta
    return options_here(config, {"path_share": 1, **known})


def _penalty(settings: Mapping[str, Any], use: str, weight: str, every: str, here: str) -> dict[str, Any]:
    """Weight and interval of a penalty, which 0 in any of its settings switches off."""
    if not all(settings.get(name, 1) for name in (use, weight, every)):
        return {f"{here}_weight": 0.0}
    named = {f"{here}_weight": weight, f"{here}_every": every}
    return {option: settings[name] for option, name in named.items() if name in settings}


def _optimizers(content: Mapping[str, Any], config: StyleGAN2Config) -> dict[str, Any] | None:
    if not all(isinstance(content.get(f"{name}_optimizer"), Mapping) for name in _NETWORKS):
        return None
    optimizers: dict[str, Any] = {}
    for name in _NETWORKS:
        parameters = list(unwrap(content[name]["state_dict"]))  # the filters, too, are parameters there
        rename = _without_buffers(_RENAMES[name])
        optimizers |= translate_optimizer(content[f"{name}_optimizer"], parameters, rename, config)
    return optimizers


def _without_buffers(rename: Rename) -> Rename:
    """The mean style is a parameter there and a buffer here, which no optimiser moves."""
    return lambda name: None if name == "w_ema" else rename(name)
