"""Which styles a command was asked for: domains, and a seed or references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast import flags
from starcast.errors import OptionError, StyleError
from starcast.options import CheckedOptions, option
from starcast.runtime.domains import domain_in_name, domain_index, list_domains

ALL = "all"
LARGEST_SEED = 2**32 - 1  # what numpy's RandomState takes


@dataclass(frozen=True, kw_only=True)
class StyleOptions(CheckedOptions):
    """The styles that a command was asked for; `requests_from` reads them."""

    domain: str | None = flags.domain("all: one translation for each domain.")
    seed: int | None = flags.seed(
        None, "The same seed gives the same style. Default: 0, unless --ref is given.", maximum=LARGEST_SEED
    )
    ref: Path | None = option(
        None, "Reference image to take the style from. Of a folder, every image is taken whose name begins with a "
        "domain's name or number (dog-rex.jpg, 1_rex.jpg).",
        metavar="IMAGE|FOLDER",
    )  # fmt: skip
    psi: float = flags.psi()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and self.ref is not None:
            raise OptionError("--seed and --ref exclude each other: a style is drawn at random or taken from an image")


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """One style to make: of a seed, of a reference, or of the domain's own label (`seed` and `reference` None)."""

    domain: str  # its name
    seed: int | None = None
    reference: Path | None = None
    psi: float = 1.0

    @property
    def label(self) -> str:
        """A short name for folders and files: `dog-seed7`, `dog-rex`, `dog`."""
        if self.reference is not None:
            return f"{self.domain}-{self.reference.stem}"
        return self.domain if self.seed is None else f"{self.domain}-seed{self.seed}"

    @property
    def arguments(self) -> dict[str, Any]:
        """What `Translator.style` takes."""
        if self.seed is None and self.reference is None:
            return {"labels": {self.domain: 1.0}, "psi": self.psi}
        return {"domain": self.domain, "seed": self.seed, "reference": self.reference, "psi": self.psi}


def requests_from(options: StyleOptions, domains: Sequence[str], *, by_label: bool = False) -> list[StyleRequest]:
    """The styles that were asked for, in the order of domains, then of the references' names; at least one.

    `by_label`: the bundle is steered by labels, so that without a seed and a reference a domain is its label. Raises
    StyleError if the domain is missing or unknown, or no reference fits.
    """
    if options.ref is None:
        chosen = _chosen(options.domain, domains)
        if not chosen:
            raise StyleError(f"say which domain to translate to with --domain: {list_domains(domains)}, or {ALL}")
        seed = options.seed if by_label else options.seed or 0
        return [StyleRequest(domain=domain, seed=seed, psi=options.psi) for domain in chosen]
    if options.ref.is_dir():
        pairs = _from_folder(options.ref, options.domain, domains)
    else:
        pairs = [(domain, options.ref) for domain in _domains_of(options.ref, options.domain, domains)]
    return [StyleRequest(domain=domain, reference=reference, psi=options.psi) for domain, reference in pairs]


def _chosen(domain: str | None, domains: Sequence[str]) -> list[str]:
    """The domains that --domain names; none if it is missing and there is a choice."""
    if domain == ALL and ALL not in domains:
        return list(domains)
    if domain is None and len(domains) != 1:
        return []
    return [domains[domain_index(domain, domains)]]


def _domains_of(reference: Path, domain: str | None, domains: Sequence[str]) -> list[str]:
    chosen = _chosen(domain, domains)
    if chosen:
        return chosen
    named = domain_in_name(reference, domains)
    if named is None:
        raise StyleError(
            f"{reference} does not say which domain it belongs to: give --domain ({list_domains(domains)}), or begin "
            "the file's name with the domain's name or number"
        )
    return [named]


def _from_folder(folder: Path, domain: str | None, domains: Sequence[str]) -> list[tuple[str, Path]]:
    from starcast.runtime.folder.sources import find_sources

    wanted = _chosen(domain, domains) or list(domains)
    images = [source.path for source in find_sources([folder]).sources if source.path.parent == folder]
    pairs = [(named, path) for path in images if (named := domain_in_name(path, domains)) in wanted]
    if not pairs:
        raise StyleError(
            f"{folder} has no image whose name begins with {' or '.join(wanted)} or its number: rename the "
            "references (dog-rex.jpg, 1_rex.jpg), or give one image with --ref and its --domain"
        )
    return sorted(((named, path) for named, path in pairs if named), key=lambda pair: domains.index(pair[0]))
