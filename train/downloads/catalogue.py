"""What `starcast download` knows: names, the official script's addresses, licences, and what must arrive.

The addresses are untested, and only the server knows the sizes. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass

_DROPBOX = "https://www.dropbox.com/s"
_STARGAN_V2 = "CC BY-NC 4.0 (github.com/clovaai/stargan-v2): non-commercial use only, with attribution"
_CELEBA = "non-commercial research only (mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"


@dataclass(frozen=True)
class Remote:
    """A file at an address. `kind`: what it must prove to be: zip, checkpoint, weights or mean."""

    name: str
    url: str
    kind: str


@dataclass(frozen=True)
class Item:
    """What a name stands for: `what` describes it, `files` are fetched one after the other.

    An archive becomes the folder `folder`, which must hold these domains for training and for evaluation.
    """

    what: str
    licence: str
    files: tuple[Remote, ...] = ()
    folder: str = ""
    domains: tuple[str, ...] = ()


def _set(key: str, folder: str, what: str, licence: str, domains: tuple[str, ...]) -> Item:
    url = f"{_DROPBOX}/{key}/{folder}.zip?dl=1"
    return Item(what, licence, (Remote(f"{folder}.zip", url, "zip"),), folder, domains)


def _file(key: str, name: str, kind: str, local: str = "") -> Remote:
    return Remote(local or name, f"{_DROPBOX}/{key}/{name}?dl=1", kind)


_BOTH = f"{_CELEBA}; {_STARGAN_V2}"
_ANIMALS, _FACES = ("cat", "dog", "wild"), ("female", "male")
_NETWORK = "100000_nets_ema.ckpt"

ITEMS: dict[str, Item] = {
    "afhq": _set("t9l9o3vsx2jai3z", "afhq", "AFHQ: animal faces at 512 px", _STARGAN_V2, _ANIMALS),
    "afhq-v2": _set("vkzjokiwof5h8w6", "afhq_v2", "AFHQ v2: the same, resized better", _STARGAN_V2, _ANIMALS),
    "celeba-hq": _set("f7pvjij2xlpff59", "celeba_hq", "CelebA-HQ: faces at 256 px", _BOTH, _FACES),
    "afhq-network": Item(
        "the official networks for AFHQ", _STARGAN_V2,
        (_file("etwm810v25h42sn", _NETWORK, "checkpoint", f"afhq_{_NETWORK}"),),
    ),
    "celeba-hq-network": Item(
        "the official networks for CelebA-HQ", _STARGAN_V2,
        (_file("96fmei6c93o8b8t", _NETWORK, "checkpoint", f"celeba_hq_{_NETWORK}"),),
    ),
    "wing": Item(
        "weights of the landmark network, and mean landmarks, for face models", _STARGAN_V2,
        (
            _file("tjxpypwpt38926e", "wing.ckpt", "weights"),
            _file("91fth49gyb7xksk", "celeba_lm_mean.npz", "mean"),
        ),
    ),
    "celeba": Item("CelebA: 202,599 aligned faces with 40 attributes, about 1.4 GB", _CELEBA, folder="celeba"),
}  # fmt: skip
