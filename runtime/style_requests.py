"""Which styles a command was asked for: a domain, and a seed or a reference."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

from starcast import flags
from starcast.errors import OptionError, StyleError
from starcast.options import CheckedOptions, option

ALL = "all"
LARGEST_SEED = 2**32 - 1  # what numpy's RandomState takes


@dataclass(frozen=True, kw_only=True)
class StyleOptions(CheckedOptions):
    """What makes the styles of a command: `requests_from` reads it."""

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
            raise OptionError("--seed and --ref exclude each other: a style is drawn by chance or taken from a picture")


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """One style to be made, from a seed or from a reference."""

    domain: str  # its name
    seed: int | None = None
    reference: Path | None = None
    psi: float = 1.0

    @property
    def label(self) -> str:
        """A short name for folders and files: `dog-seed7`, `dog-rex`."""
        return f"{self.domain}-{f'seed{self.seed}' if self.reference is None else self.reference.stem}"


def domain_index(domain: str | SupportsIndex | None, domains: Sequence[str]) -> int:
    """The number of a domain given by name or number; a name comes before a number that is spelt alike. None stands
    for the only domain of a bundle that has one. Raises StyleError, with the domains."""
    if domain is None:
        if len(domains) == 1:
            return 0
        raise StyleError(f"say which domain to translate to: {_listed(domains)}")
    if isinstance(domain, str):
        if domain in domains:
            return domains.index(domain)
        number = int(domain) if re.fullmatch(r"[0-9]{1,9}", domain) else -1
    else:
        number = operator.index(domain)
    if not 0 <= number < len(domains):
        raise StyleError(f"there is no domain {domain!r}: the bundle has {_listed(domains)}")
    return number


def requests_from(options: StyleOptions, domains: Sequence[str]) -> list[StyleRequest]:
    """The styles that were asked for, in the order of domains, then of the references' names; at least one.

    Raises StyleError where the domain is missing or unknown, or no reference fits.
    """
    if options.ref is None:
        chosen = _chosen(options.domain, domains)
        if not chosen:
            raise StyleError(f"say which domain to translate to with --domain: {_listed(domains)}, or {ALL}")
        return [StyleRequest(domain=domain, seed=options.seed or 0, psi=options.psi) for domain in chosen]
    if options.ref.is_dir():
        pairs = _from_folder(options.ref, options.domain, domains)
    else:
        pairs = [(domain, options.ref) for domain in _domains_of(options.ref, options.domain, domains)]
    return [StyleRequest(domain=domain, reference=reference, psi=options.psi) for domain, reference in pairs]


def domain_in_name(path: Path, domains: Sequence[str]) -> str | None:
    """The domain that a file's name begins with, by name (`dog-rex.jpg`, `dog3.png`) or number (`1-rex.jpg`); None if
    it begins with none.

    The longest name wins, and a name before a number. A letter after a name belongs to another word (`dogma.jpg`), and
    a number does not begin with 0 unless it is 0, so that `001.jpg` is no domain.
    """
    stem = path.stem.casefold()
    for domain in sorted(domains, key=len, reverse=True):
        rest = stem.removeprefix(domain.casefold())
        if domain and rest != stem and not rest[:1].isalpha() and not (domain[-1].isdigit() and rest[:1].isdigit()):
            return domain
    number = re.match(r"(0|[1-9][0-9]{0,8})(?![0-9])", stem)
    return domains[int(number[1])] if number and int(number[1]) < len(domains) else None


def _chosen(domain: str | None, domains: Sequence[str]) -> list[str]:
    """The domains that --domain names; none where it says nothing and there is a choice."""
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
            f"{reference} does not say which domain it is of: give --domain ({_listed(domains)}), or begin the file's "
            "name with the domain's name or number"
        )
    return [named]


def _from_folder(folder: Path, domain: str | None, domains: Sequence[str]) -> list[tuple[str, Path]]:
    from starcast.runtime.sources import find_sources

    wanted = _chosen(domain, domains) or list(domains)
    pictures = [source.path for source in find_sources([folder]).sources if source.path.parent == folder]
    found = [(named, path) for path in pictures if (named := domain_in_name(path, domains)) in wanted]
    if not found:
        raise StyleError(
            f"{folder} has no picture whose name begins with {' or '.join(wanted)} or its number: rename the "
            "references (dog-rex.jpg, 1_rex.jpg), or give one picture with --ref and its --domain"
        )
    return sorted(((named, path) for named, path in found if named), key=lambda pair: domains.index(pair[0]))


def _listed(domains: Sequence[str]) -> str:
    return ", ".join(f"{name} ({number})" for number, name in enumerate(domains))
