"""Which styles a command was asked for: domains, by name or by number, and a seed or references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast.errors import StyleError, printable
from starcast.runtime.domains import domain_in_name, domain_index, list_domains
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.options import StyleOptions
from starcast.runtime.references import references_in

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
    labels: LabelMaker | None = None,
    progress: Callable[[str], None] = _say_nothing,
    several: bool = True,
) -> list[StyleRequest]:
    """The requested styles, at least one, ordered by domain, then by reference name.

    `labels`: the bundle is steered by these alone, so without a seed or a reference a domain stands for its label.
    `progress` gets a line for each reason to leave out files in a folder of references. `several`: the caller takes
    more than one style, so that an error may offer all domains. Raises StyleError if the domain is missing or unknown,
    or no reference fits.
    """
    if labels is not None and labels.attribute_names and options.ref is None and options.seed is None:
        raise StyleError(
            f"the model changes attributes ({', '.join(labels.attribute_names)}), and those that a source has already "
            "cannot be given on the command line yet: translate from Python, with Translator.labels"
        )
    if options.ref is not None:
        return requests_of_reference(options.ref, options.domain, domains, psi=options.psi, progress=progress)
    seed = options.seed if labels is not None else options.seed or 0
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
        chosen = _choose_domains(domain, domains)
        pairs = references_in(reference, chosen[0] if len(chosen) == 1 else None, domains, progress)
    else:
        pairs = [(name, reference) for name in _domains_of(reference, domain, domains)]
    return [StyleRequest(domain=name, reference=path, psi=psi) for name, path in pairs]


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
