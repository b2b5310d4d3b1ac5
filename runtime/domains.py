"""The domains of a bundle: find one by name or number, also at the beginning of a file's name."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

from starcast.errors import StyleError


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
