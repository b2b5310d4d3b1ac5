"""Which styles a command was asked for: domains, by name or by number, and a seed or references."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

from starcast.errors import StyleError, printable
from starcast.runtime.options import StyleOptions

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """One style to make: from a seed, a reference, or the domain's own label (`seed` and `reference` None)."""

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
        """Keyword arguments for `Translator.style`."""
        if self.seed is None and self.reference is None:
            return {"labels": {self.domain: 1.0}, "psi": self.psi}
        return {"domain": self.domain, "seed": self.seed, "reference": self.reference, "psi": self.psi}


def _say_nothing(_line: str) -> None:
    """Take a line that nobody reads."""


def requests_from(
    options: StyleOptions,
    domains: Sequence[str],
    *,
    by_label: bool = False,
    progress: Callable[[str], None] = _say_nothing,
    several: bool = True,
) -> list[StyleRequest]:
    """The requested styles, at least one, ordered by domain, then by reference name.

    `by_label`: the bundle is steered by labels, so without a seed or a reference a domain stands for its label.
    `progress` gets a line for each reason to leave out files in a folder of references. `several`: the caller takes
    more than one style, so that an error may offer all domains. Raises StyleError if the domain is missing or unknown,
    or no reference fits.
    """
    if options.ref is not None:
        return requests_of_reference(options.ref, options.domain, domains, psi=options.psi, progress=progress)
    seed = options.seed if by_label else options.seed or 0
    return requests_of_seed(seed, options.domain, domains, psi=options.psi, several=several)


def requests_of_seed(
    seed: int | None, domain: str | None, domains: Sequence[str], *, psi: float, several: bool = True
) -> list[StyleRequest]:
    """One style for each domain that `domain` names: from `seed`, or from the domain's label if it is None.

    Raises StyleError.
    """
    chosen = _choose_domains(domain, domains)
    if not chosen:
        raise StyleError(
            f"say which domain to translate to with --domain: {list_domains(domains)}{f', or {ALL}' if several else ''}"
        )
    return [StyleRequest(domain=name, seed=seed, psi=psi) for name in chosen]


def requests_of_reference(
    reference: Path,
    domain: str | None,
    domains: Sequence[str],
    *,
    psi: float,
    progress: Callable[[str], None] = _say_nothing,
) -> list[StyleRequest]:
    """The styles of a reference image, or of each image in a folder. Raises StyleError if none fits."""
    if reference.is_dir():
        from starcast.runtime.references import references_in

        chosen = _choose_domains(domain, domains)
        pairs = references_in(reference, chosen[0] if len(chosen) == 1 else None, domains, progress)
    else:
        pairs = [(name, reference) for name in _domains_of(reference, domain, domains)]
    return [StyleRequest(domain=name, reference=path, psi=psi) for name, path in pairs]


def domain_index(domain: str | SupportsIndex | None, domains: Sequence[str]) -> int:
    """The number of a domain given by name or number; if it could be either, the name wins. None means the bundle's
    only domain. Raises StyleError, which lists the domains."""
    if domain is None:
        if len(domains) == 1:
            return 0
        raise StyleError(f"say which domain to translate to: {list_domains(domains)}")
    if isinstance(domain, str):
        if domain in domains:
            return domains.index(domain)
        number = int(domain) if re.fullmatch(r"[0-9]{1,9}", domain) else -1
    else:
        number = operator.index(domain)
    if not 0 <= number < len(domains):
        raise StyleError(f"there is no domain {domain!r}: the bundle has {list_domains(domains)}")
    return number


def domain_in_name(path: Path, domains: Sequence[str]) -> str | None:
    """The domain that a file's name begins with, by name (`dog-rex.jpg`, `dog3.png`) or number (`1-rex.jpg`), or None.

    The longest name wins, and a name wins over a number. A name followed by a letter is part of another word
    (`dogma.jpg`). A number has no leading zeros, so `001.jpg` names no domain.
    """
    stem = path.stem.casefold()
    for domain in sorted(domains, key=len, reverse=True):
        rest = stem.removeprefix(domain.casefold())
        if domain and rest != stem and not rest[:1].isalpha() and not (domain[-1].isdigit() and rest[:1].isdigit()):
            return domain
    number = re.match(r"(0|[1-9][0-9]{0,8})(?![0-9])", stem)
    return domains[int(number[1])] if number and int(number[1]) < len(domains) else None


def list_domains(domains: Sequence[str]) -> str:
    """`cat (0), dog (1)`."""
    return ", ".join(f"{name} ({number})" for number, name in enumerate(domains))


def _choose_domains(domain: str | None, domains: Sequence[str]) -> list[str]:
    """The domains that --domain names; empty if it is missing and the bundle has several."""
    if domain == ALL and ALL not in domains:
        return list(domains)
    if domain is None and len(domains) != 1:
        return []
    return [domains[domain_index(domain, domains)]]


def _domains_of(reference: Path, domain: str | None, domains: Sequence[str]) -> list[str]:
    chosen = _choose_domains(domain, domains)
    if chosen:
        return chosen
    named = domain_in_name(reference, domains)
    if named is None:
        raise StyleError(
            f"{printable(reference)} does not say which domain it belongs to: give --domain ({list_domains(domains)}), "
            "or begin the file's name with the domain's name or number"
        )
    return [named]
