"""Find the weights of Inception and AlexNet: in torch's cache or the user's folder. Fetched only with --download."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starcast.errors import CheckpointError, OptionError, printable, reason_of

Progress = Callable[[str], None]

TENSORFLOW_INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights: the network's name, and the address, which ends in the file's name."""

    network: str
    url: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def hash_prefix(self) -> str:
        """The first digits of the published file's SHA-256: torchvision puts them into the name."""
        match = re.search(r"-([0-9a-f]{8,})\.", self.name)
        return match[1] if match else ""


@dataclass(frozen=True)
class Weights:
    """A file of weights on this machine, its SHA-256, and whether that is the published file's."""

    file: WeightFile
    path: Path
    sha256: str

    @property
    def is_published(self) -> bool:
        return bool(self.file.hash_prefix) and self.sha256.startswith(self.file.hash_prefix)

    def facts(self) -> dict[str, Any]:
        """What a report says about the weights."""
        return {"file": self.file.name, "sha256": self.sha256, "published": self.is_published}


def inception_file() -> WeightFile:
    """The weights of torchvision's Inception v3."""
    from torchvision.models import Inception_V3_Weights

    return WeightFile("torchvision's Inception v3", Inception_V3_Weights.IMAGENET1K_V1.url)


def tensorflow_inception_file() -> WeightFile:
    """The weights of TensorFlow's Inception of 2015, as torch-fidelity publishes them. pytorch-fid's file, `pt_…`, has
    the same bytes."""
    return WeightFile("TensorFlow's Inception", TENSORFLOW_INCEPTION)


def find_tensorflow_inception(folder: Path | None, progress: Progress) -> Weights | None:
    """The file of TensorFlow's Inception in `folder` (default: torch's cache), under either of its names. If it is
    missing, `progress` gets a line; nothing is fetched."""
    own = tensorflow_inception_file()
    files = [own, WeightFile(own.network, f"pt_{own.name.removeprefix('weights-')}")]
    place = _place(folder)
    for file in files:
        if (place / file.name).is_file():
            return _identify(file, place / file.name, progress)
    progress(
        f"FID by TensorFlow's Inception, which most papers report, is left out: to include it, put {own.name} from "
        f"{own.url} into {printable(place)}"
    )
    return None


def alexnet_file() -> WeightFile:
    """The weights of torchvision's AlexNet."""
    from torchvision.models import AlexNet_Weights

    return WeightFile("torchvision's AlexNet", AlexNet_Weights.IMAGENET1K_V1.url)


def find_weights(
    files: Sequence[WeightFile], folder: Path | None, *, download: bool, progress: Progress, flag: str = "--weights"
) -> list[Weights]:
    """The files in `folder`, by default torch's cache. With `download`, missing files are fetched into it first.

    `flag` is what names the folder. `progress` gets a line for each file that is not the published one. Raises
    OptionError, which names all missing files.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OptionError(f"{flag} is {printable(folder)}, which is not a folder: name the folder with the weights")
    place = _place(folder)
    missing = [file for file in files if not (place / file.name).is_file()]
    if missing and not download:
        networks, names = (
            " and ".join(words) for words in zip(*((one.network, one.name) for one in missing), strict=True)
        )
        raise OptionError(
            f"the weights of {networks} are missing: put {names} into {printable(place)}, name the folder that has "
            f"{'it' if len(missing) == 1 else 'them'} with {flag}, or add --download to fetch "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    for file in missing:
        _fetch(file, place / file.name, progress)
    return [_identify(file, place / file.name, progress) for file in files]


def _place(folder: Path | None) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" if folder is None else folder


def _identify(file: WeightFile, path: Path, progress: Progress) -> Weights:
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise OptionError(f"{printable(path)} cannot be read ({reason_of(error)}): check its permissions") from error
    weights = Weights(file, path, digest)
    if not weights.is_published:
        progress(f"{printable(path)} is not the published file: these figures compare only with others made with it")
    return weights


def load_weights(network: nn.Module, weights: Weights, state_of: Callable[[str], str | None]) -> None:
    """Fill a network from a file. `state_of` gives the name in the file for a name in the network; None: not needed.

    Runs no code from the file. Raises CheckpointError for a file that is damaged or another network's.
    """
    content = read_weights(weights)
    state, wrong = {}, f"{printable(weights.path)} does not hold the weights of {weights.file.network}"
    for name, own in network.state_dict().items():
        stored_name = state_of(name)
        if stored_name is None:
            continue
        value = content.get(stored_name)
        if not isinstance(value, Tensor) or value.shape != own.shape:
            raise CheckpointError(f"{wrong}: it lacks {stored_name} of shape {tuple(own.shape)}; replace the file")
        state[name] = value
    network.load_state_dict(state, strict=False)


def read_weights(weights: Weights) -> dict[str, Any]:
    """A file's content. Runs no code from the file. Raises OptionError, CheckpointError."""
    damaged = f"{printable(weights.path)} is not a file of weights, or is damaged: delete it, and add --download"
    try:
        content = torch.load(weights.path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OptionError(
            f"{printable(weights.path)} cannot be read ({reason_of(error)}): check its permissions"
        ) from error
    except Exception as error:  # torch's reader raises errors of many kinds for damaged bytes
        raise CheckpointError(damaged) from error
    if not isinstance(content, dict):
        raise CheckpointError(damaged)
    return content


def _fetch(file: WeightFile, path: Path, progress: Progress) -> None:
    progress(f"fetching {file.url}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # written aside, compared with the hash, then renamed
        torch.hub.download_url_to_file(
            file.url, str(path), hash_prefix=file.hash_prefix or None, progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; another hash is a RuntimeError
        raise OptionError(
            f"{file.url} cannot be fetched ({reason_of(error)}): download it yourself into {printable(path.parent)}"
        ) from error
