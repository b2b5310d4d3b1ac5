"""StarGAN v2's layers that belong to one domain each, carried over to networks for other domains.

The mapping network and the style encoder have a head for each domain, `unshared.K`; the discriminator has a row for
each in its last layer. All other layers are shared by all domains, and the generator has no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_HEAD = re.compile(r"unshared\.(\d+)\.(.+)")


def carry_over(
    network: str, state: Mapping[str, Tensor], fresh: Mapping[str, Tensor], origins: Sequence[int | None]
) -> dict[str, Tensor]:
    """A network's parameters for other domains: those of `state`, with `fresh` ones for domains that it lacks.

    `origins` has an entry for each domain of `fresh`: its number in `state`, or None.
    """
    last = _last_layer(fresh) if network == "discriminator" else None
    carried: dict[str, Tensor] = {}
    for name, value in fresh.items():
        if match := _HEAD.fullmatch(name):
            origin = origins[int(match[1])]
            carried[name] = value if origin is None else state[f"unshared.{origin}.{match[2]}"]
        elif last is not None and name.startswith(last):
            rows = value.clone()
            for domain, origin in enumerate(origins):
                if origin is not None:
                    rows[domain] = state[name][origin]
            carried[name] = rows
        else:
            carried[name] = state[name]
    return carried


def _last_layer(state: Mapping[str, Tensor]) -> str:
    """The prefix of the discriminator's last layer, `main.10.` at 256 px."""
    return f"main.{max(int(name.split('.')[1]) for name in state)}."
