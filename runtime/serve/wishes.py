"""What a client asks for, as JSON: the look of its translations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from starcast.errors import StyleError
from starcast.runtime.live.looks import Look
from starcast.runtime.seed_lists import LARGEST_SEED

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class StyleWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A style: of a seed or a reference in a domain, or of labels."""

    domain: str | int | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEED)] | None = None
    reference: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    labels: Mapping[str, float] | None = None
    psi: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0

    @property
    def look(self) -> Look:
        """The look of this style. Raises StyleError."""
        if [self.seed is None, self.reference is None, self.labels is None].count(False) != 1:
            raise StyleError("a style is made from a seed, a reference or labels: give one of them")
        labels = None if self.labels is None else tuple(sorted(self.labels.items()))
        return Look(self.domain, self.seed, self.reference, labels, psi=self.psi)


class LookWish(StyleWish, frozen=True, forbid_unknown_fields=True):
    """A style, or a blend of two: `blend` is the share of `second`."""

    second: StyleWish | None = None
    blend: Share = 0.0

    @property
    def look(self) -> Look:
        """The look of this style or blend. Raises StyleError."""
        first = super().look
        if self.second is None or not self.blend:
            return first
        return Look(
            first.domain, first.seed, first.reference, first.labels, first.psi, self.second.look, blend=self.blend
        )


_DECODER = msgspec.json.Decoder(LookWish)


def read_look(message: str | bytes) -> Look:
    """The look that a client wishes. Raises StyleError: one sentence for the client."""
    try:
        return _DECODER.decode(message).look
    except msgspec.DecodeError as error:
        raise StyleError(f"the look cannot be read ({error})") from error
