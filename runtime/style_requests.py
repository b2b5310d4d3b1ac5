"""Which styles a command was asked for: domains, by name or by number, and a seed, references or labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast.comma_lists import rejoin, split_commas
from starcast.errors import StyleError, printable
from starcast.runtime.domains import domain_in_name, domain_index, list_domains
from starcast.runtime.labels import LabelChange, change_of, no_attribute, target_labels, whole_vector
from starcast.runtime.manifest import Condition, LabelMaker
from starcast.runtime.options import LabelOptions, StyleOptions
from starcast.runtime.references import references_in

ALL = "all"
EMPTY = '""'  # an empty list on the command line


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """One style to make: from a seed, a reference, labels, or the domain's own label (none of the others is set).

    `vector`: the style itself. `change`: how it changes the source's labels.
    """

    domain: str | None = None  # its name
    seed: int | None = None
    reference: Path | None = None
    psi: float = 1.0
    change: LabelChange | None = None
    vector: tuple[float, ...] | None = None

    @property
    def label(self) -> str:
        """A short name for folders and files: `dog-seed7`, `dog-rex`, `dog`, `Blond_Hair+not-Male`, `labels-1,0`."""
        if self.change is not None:
            return self.domain or self.change.text
        if self.vector is not None:
            return f"labels-{','.join(f'{number:g}' for number in self.vector)}"
        if self.domain is None:
            raise ValueError(f"{self} has neither a domain nor labels")
        if self.reference is not None:
            return f"{self.domain}-{self.reference.stem}"
        return self.domain if self.seed is None else f"{self.domain}-seed{self.seed}"

    @property
    def depends_on_source(self) -> bool:
        """Whether the style is known only when the source's labels are read."""
        return self.change is not None and self.vector is None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `Translator.style`."""
        if self.seed is None and self.reference is None:
            return {"labels": {self.domain: 1.0}, "psi": self.psi}
        return {"domain": self.domain, "seed": self.seed, "reference": self.reference, "psi": self.psi}


def _ignore(_line: str) -> None:
    """Ignore a line of progress."""


def requests_from(
    options: StyleOptions,
    domains: Sequence[str],
    *,
    labels: LabelMaker | None = None,
    progress: Callable[[str], None] = _ignore,
    several: bool = True,
) -> list[StyleRequest]:
    """The requested styles, at least one, ordered by domain, then by reference name.

    `labels`: those of a bundle that takes labels only. `progress` gets a line for each reason to leave out files in a
    folder of references. `several`: the caller takes more than one style, so that an error may offer all domains.
    Raises StyleError if the domain is missing or unknown, no reference fits, or the options are for other bundles.
    """
    if labels is not None:
        refuse_styles(
            {"--seed": options.seed is not None, "--ref": options.ref is not None, "--psi": options.psi != 1},
            labels,
            several=several,
        )
        return requests_of_labels(options, options.domain, labels, several=several)
    refuse_labels(options)
    if options.ref is not None:
        return requests_of_reference(options.ref, options.domain, domains, psi=options.psi, progress=progress)
    return requests_of_seed(options.seed or 0, options.domain, domains, psi=options.psi, several=several)


def requests_of_seed(
    seed: int, domain: str | None, domains: Sequence[str], *, psi: float, several: bool = True
) -> list[StyleRequest]:
    """One style from `seed` for each domain that `domain` names. Raises StyleError."""
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
    progress: Callable[[str], None] = _ignore,
) -> list[StyleRequest]:
    """The styles of a reference image, or of each image in a folder. Raises StyleError if none fits."""
    if reference.is_dir():
        chosen = _choose_domains(domain, domains)
        pairs = references_in(reference, chosen or domains, domains, progress)
    else:
        pairs = [(name, reference) for name in _domains_of(reference, domain, domains)]
    return [StyleRequest(domain=name, reference=path, psi=psi) for name, path in pairs]


def graphs_for(requests: Collection[StyleRequest], condition: Condition) -> tuple[str, ...]:
    """The graphs of a bundle that make these styles, or that read the labels which they change."""
    parts = (
        (condition.latent, any(request.seed is not None for request in requests)),
        (condition.reference, any(request.reference is not None for request in requests)),
        (condition.classifier, any(request.depends_on_source for request in requests)),
    )
    return tuple(part.graph for part, is_used in parts if part is not None and is_used)


def latent_graphs(condition: Condition) -> tuple[str, ...]:
    """The graph of a bundle that makes styles from latents, if it has one."""
    return () if condition.latent is None else (condition.latent.graph,)


def requests_of_labels(
    options: LabelOptions, domain: str | None, maker: LabelMaker, *, as_it_is: bool = False, several: bool = True
) -> list[StyleRequest]:
    """The styles of a bundle that is steered by labels: the given ones, the source's own with changes, or for each
    label that `domain` names, the source's own with that one changed.

    `as_it_is`: the source's own labels come first, if it has attributes. Without --has, the bundle's classifier will
    read them. Raises StyleError if nothing is asked for, or the source's own labels are needed but unknown.
    """
    has = _source_labels(options.has, maker)
    change = LabelChange(on=_unique(options.set), off=_unique(options.unset), flip=_unique(options.flip))
    if options.labels is not None:
        requests = [StyleRequest(vector=tuple(whole_vector(maker, options.labels).tolist()))]
    elif change.names:
        requests = [_request_of_change(change, None, has, maker)]
    else:
        chosen = _choose_domains(domain, maker.names)
        if not chosen:
            raise StyleError(_what_to_ask_for(maker, several=several))
        requests = [_request_of_change(change_of(maker, name), name, has, maker) for name in chosen]
    if as_it_is and maker.attribute_names:
        if options.labels is not None and maker.classifier is None:
            raise StyleError(
                "--labels is one style, and a loop needs the source's own attributes, too, which are unknown: give "
                "--set, --unset or --flip with --has instead"
            )
        requests.insert(0, _request_of_change(LabelChange(), None, has, maker))
    return requests


def request_as_it_is(has: tuple[str, ...] | None, maker: LabelMaker) -> StyleRequest:
    """The source's own attributes as a style; `has` as --has gives them. Raises StyleError if they are unknown."""
    if not maker.attribute_names:
        raise StyleError("the bundle's labels are classes, which a source has none of: name a class")
    return _request_of_change(LabelChange(), None, _source_labels(has, maker), maker)


def refuse_labels(options: LabelOptions) -> None:
    """Raise StyleError if changes of labels are asked of a bundle that is not steered by labels."""
    if options.label_flags:
        raise StyleError(
            f"{options.label_flags[0]} is for bundles that are steered by labels, and this one has domains and styles: "
            "give --domain, with a seed or a reference"
        )


def refuse_styles(flags: Mapping[str, bool], maker: LabelMaker, *, several: bool = True) -> None:
    """Raise StyleError if one of `flags`, which are for styles, is given to a bundle that is steered by labels."""
    given = [flag for flag, is_given in flags.items() if is_given]
    if given:
        ways = _flags_hint(maker, several=several)
        raise StyleError(f"the bundle is steered by labels alone, so it takes no {given[0]}: {ways}")


def _request_of_change(
    change: LabelChange, domain: str | None, has: tuple[str, ...] | None, maker: LabelMaker
) -> StyleRequest:
    """The request of a change, with its vector if that is known. Raises StyleError."""
    target_labels(maker, on=change.on, off=change.off, flip=change.flip, has=has or ())  # raises if it is impossible
    if change.names and all(name in maker.class_names for name in change.names):
        return StyleRequest(domain=change.names[0])
    if has is None and maker.classifier is not None:
        return StyleRequest(domain=domain, change=change)
    if has is None:
        raise StyleError(
            f"the source's attributes are unknown: list with --has which of {', '.join(maker.attribute_names)} it has "
            f"(--has {no_attribute(maker) or EMPTY} if none), or give all labels of the translation with --labels"
        )
    vector = target_labels(maker, on=change.on, off=change.off, flip=change.flip, has=has)
    return StyleRequest(domain=domain, change=change, vector=tuple(vector.tolist()))


def _source_labels(has: tuple[str, ...] | None, maker: LabelMaker) -> tuple[str, ...] | None:
    """The source's attributes according to --has; None if it is not given. Raises StyleError for impossible ones."""
    if has is None:
        return None
    if not maker.attribute_names:
        raise StyleError("--has lists attributes, and the bundle's labels are classes: leave it out")
    has = () if has == (no_attribute(maker),) else _unique(has)
    target_labels(maker, has=has)
    return has


def _what_to_ask_for(maker: LabelMaker, *, several: bool) -> str:
    if not maker.attribute_names:
        every = f", or {ALL}" if several and ALL not in maker.names else ""
        return f"say which domain to translate to with --domain: {list_domains(maker.names)}{every}"
    return (
        f"say what to change: {_flags_hint(maker, several=several)}; the bundle's labels are {', '.join(maker.names)}"
    )


def _flags_hint(maker: LabelMaker, *, several: bool = True) -> str:
    """How a bundle's labels are given, as an imperative."""
    if not maker.attribute_names:
        return "give --domain or --labels"
    every = f", or --domain {ALL} for one translation for each label" if several and ALL not in maker.names else ""
    return f"give --set, --unset or --flip, or all labels with --labels 1,0,…{every}"


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _choose_domains(domain: str | None, domains: Sequence[str]) -> list[str]:
    """The domains that --domain names, each once; empty if it is missing and the bundle has several."""
    if domain is None:
        return list(domains) if len(domains) == 1 else []
    names = (domain,) if domain in domains else rejoin(split_commas(domain), domains.__contains__)
    chosen: list[str] = []
    for name in names or (domain,):
        every = name == ALL and ALL not in domains
        chosen += domains if every else [domains[domain_index(name, domains)]]
    return list(dict.fromkeys(chosen))


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
