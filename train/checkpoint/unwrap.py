"""The plain state_dict within one that a wrapper saved, in float32: what official readers share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from starcast.train.checkpoint.content import is_plain

# What wrappers put into the names of parameters, at the front or before the name of a wrapped part, in any order:
# DataParallel, DistributedDataParallel and AveragedModel; torch.compile; FSDP; recomputed activations; DeepSpeed
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
_AVERAGE, _LATEST = "ema_model", "online_model"  # ema-pytorch stores both


def unwrap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same parameters under the names of the plain networks; of an average beside its model, the average."""
    parts = {name: name.split(".") for name in state}
    if any(_AVERAGE in words for words in parts.values()):
        parts = {name: words for name, words in parts.items() if _LATEST not in words}
    dropped = {*_WRAPPERS, _AVERAGE}
    return {".".join(word for word in words if word not in dropped): state[name] for name, words in parts.items()}


def in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers in float32; what is no plain numbers stays, so that `check_weights` can name it."""
    return {name: value.float() if is_plain(value) else value for name, value in state.items()}
