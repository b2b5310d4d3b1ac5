"""A command's styles for each source: some are the same for all, others depend on the source's attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.style_requests import StyleRequest
from starcast.runtime.styles import Align, make_styles

if TYPE_CHECKING:
    from starcast.runtime.translator import Translator


class SourceStyles:
    """Makes the requested styles for each source in turn.

    `has`: the attributes read from each source so far, by the source's name. `progress` gets a line for each. `align`
    as in `make_styles`.
    """

    def __init__(
        self,
        requests: Sequence[StyleRequest],
        translator: Translator,
        progress: Callable[[str], None],
        align: Align | None = None,
    ) -> None:
        self.has: dict[str, list[str]] = {}
        self._requests, self._translator, self._progress = requests, translator, progress
        fixed = [request for request in requests if not request.depends_on_source]
        made = iter(make_styles(fixed, translator.style, progress, align) if fixed else ())
        self._rows: list[NDArray[np.float32] | None] = [
            None if request.depends_on_source else next(made) for request in requests
        ]

    def make(self, image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
        """The styles [requests, S] for a source, uint8 [H, W, 3], already fitted; progress calls it `name`.

        Raises EngineError, and BundleError for a classifier that cannot be used.
        """
        known = [row for row in self._rows if row is not None]
        if len(known) == len(self._rows):
            return np.stack(known)
        has = self._translator.read_labels(image)
        self.has[name] = list(has)
        attributes = ", ".join(has) or "none of the bundle's attributes"
        self._progress(f"{name} has {attributes}")
        return np.stack([
            self._style_of_change(request, has) if row is None else row
            for request, row in zip(self._requests, self._rows, strict=True)
        ])  # fmt: skip

    def _style_of_change(self, request: StyleRequest, has: Sequence[str]) -> NDArray[np.float32]:
        change = request.change
        assert change is not None
        return self._translator.labels(set=change.on, unset=change.off, flip=change.flip, has=has)
