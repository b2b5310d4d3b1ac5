"""The references in a folder, and the domain of each.

    refs/dog-rex.jpg      the file's name begins with a domain's name or number
    refs/dog/rex.jpg      the folder's name is a domain's name or number, as in the official data
    refs/rex.jpg          names no domain: it belongs to the requested one

A progress line lists the files in the folder that are not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from starcast.errors import StyleError, printable
from starcast.runtime.domains import domain_in_name, list_domains
from starcast.runtime.folder.sources import find_sources

_NAMED = 10  # files that one line names


def references_in(
    folder: Path, wanted: Sequence[str], domains: Sequence[str], progress: Callable[[str], None]
) -> list[tuple[str, Path]]:
    """(domain, path) of each reference in a folder and its subfolders, by domain, then by name.

    `wanted`: the domains that were asked for. If it is one, references that name none belong to it. `progress` gets a
    line for each reason to leave something out. Raises StyleError if no reference is left.
    """
    found = find_sources([folder], take_translations=True)
    own = _domain_called(folder.absolute().name, domains, numbers=False)
    if own not in wanted:
        own = None
    only = wanted[0] if len(wanted) == 1 else None
    pairs: list[tuple[str, Path]] = []
    without_domain: list[Path] = []
    of_others: list[Path] = []
    for source in found.sources:
        is_top = len(source.relative.parts) == 1
        domain = _domain_of(source.relative, own, domains) or (only if is_top else None)
        if domain is None:
            without_domain.append(source.path)
        elif domain not in wanted:
            of_others.append(source.path)
        else:
            pairs.append((domain, source.path))
    if not pairs:
        names = " or ".join(wanted)
        raise StyleError(
            f"{printable(folder)} has no image whose name begins with {names} or its number: rename the references "
            f"(dog-rex.jpg, 1_rex.jpg), sort them into folders named after their domains ({list_domains(domains)}), or "
            "give one image with --ref and its --domain"
        )
    for problem in found.problems:
        progress(problem)
    _list_left_out(found.others, "not images", progress)
    _list_left_out(without_domain, "neither the file's name nor its folder names a domain", progress)
    _list_left_out(of_others, f"references of other domains than {', '.join(wanted)}", progress)
    return sorted(pairs, key=lambda pair: domains.index(pair[0]))


def _domain_of(place: PurePath, own: str | None, domains: Sequence[str]) -> str | None:
    """The domain that a path below the folder says; `own` is the folder's own, which says more than a file's number."""
    first, *below = place.parts
    if below:
        return _domain_called(first, domains)
    named = domain_in_name(Path(first), domains)
    is_number = named is not None and not first.casefold().startswith(named.casefold())
    return own if own is not None and (named is None or is_number) else named


def _domain_called(name: str, domains: Sequence[str], *, numbers: bool = True) -> str | None:
    """The domain that has exactly this name, in any case, or this number."""
    for domain in domains:
        if domain.casefold() == name.casefold():
            return domain
    is_number = numbers and re.fullmatch(r"0|[1-9][0-9]{0,8}", name) is not None
    return domains[int(name)] if is_number and int(name) < len(domains) else None


def _list_left_out(paths: Sequence[Path], why: str, progress: Callable[[str], None]) -> None:
    if paths:
        names = ", ".join(printable(path) for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        progress(f"not used as references ({why}): {names}{more}")
