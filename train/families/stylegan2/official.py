"""StyleGAN2 in the layouts of other programs: which one a file has, and what to do with those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from starcast.train.checkpoint.content import Checkpoint, is_state_dict
from starcast.train.checkpoint.unwrap import unwrap
from starcast.train.families.stylegan2.foreign_weights import infer_config
from starcast.train.families.stylegan2.lukau2357 import read_lukau2357
from starcast.train.families.stylegan2.networks import AVERAGED, StyleGAN2Config
from starcast.train.families.stylegan2.rosinality import is_rosinality, read_rosinality

_CONVERT = (
    "convert it to rosinality's layout (a .pt with g_ema and latent_avg) in a program that you trust with it, and give "
    "that file"
)
# bytes of a pickle that holds whole Python objects -> what it is, and the way to its weights
UNSAFE_FILES = {
    b"torch_utils.persistence": f"is a pickle of NVlabs' StyleGAN2-ADA or StyleGAN3 with its source code: {_CONVERT}",
    b"dnnlib.tflib": f"is a pickle of NVlabs' StyleGAN2 for TensorFlow with its source code: {_CONVERT}",
}


def read_official(path: Path, content: Any, _read: Callable[[Path], Any]) -> Checkpoint | None:
    """The networks of rosinality's files and lukau2357's folders; None for others. Raises CheckpointError."""
    if is_rosinality(content):
        return read_rosinality(path, content)
    return read_lukau2357(path, content) if isinstance(content, Mapping) else None


def check_config(config: StyleGAN2Config, networks: Mapping[str, Mapping[str, Tensor]], origin: str) -> None:
    """Raise ValueError unless the configuration matches the weights of the averaged networks."""
    inferred = infer_config({name: networks[name] for name in AVERAGED}, origin)
    for fact in ("image_size", "channels", "latent_dim", "mapping_depth"):
        if getattr(inferred, fact) != getattr(config, fact):
            raise ValueError(f"{fact} {getattr(config, fact)!r} is not the weights' {getattr(inferred, fact)}")
    if inferred.sizes != config.sizes:
        raise ValueError(f"widths {tuple(config.sizes.values())} are not the weights' {inferred.widths}")


def describe_foreign(content: Mapping[Any, Any]) -> str | None:
    """Half a sentence on what a near miss of these layouts holds, or None."""
    names = {str(name) for name in content}
    if {"fir_filter", "lr_mul"} & names and is_state_dict(content.get("state_dict")):
        return "is one network of a StyleGAN2 checkpoint (give its folder, checkpoint_STEP, which has MN.pth and G.pth)"
    if is_state_dict(content) and "input.input" in unwrap({str(name): value for name, value in content.items()}):
        return "is the state_dict of a StyleGAN2 generator alone (rosinality's files hold it under the name g_ema)"
    if "g_ema" in names:
        return "names an averaged generator, but not StyleGAN2's of rosinality"
    return None
