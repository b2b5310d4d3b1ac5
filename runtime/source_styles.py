"""The styles of a command for each of its sources: some are the same for all, some depend on what a source has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.style_requests import StyleRequest
from starcast.runtime.styles import make_styles

if TYPE_CHECKING:
    from starcast.runtime.translator import Translator


class SourceStyles:
    """Makes the styles of requests, for one source after the other.

    `has`: what was read of each source so far, by the name that it was given. `progress` gets a line for each.
    """

    def __init__(
        self, requests: Sequence[StyleRequest], translator: Translator, progress: Callable[[str], None]
    ) -> None:
        self.has: dict[str, list[str]] = {}
        self._requests, self._translator, self._progress = requests, translator, progress
        fixed = [request for request in requests if not request.depends_on_source]
        made = iter(make_styles(fixed, translator.style, progress) if fixed else ())
        self._rows: list[NDArray[np.float32] | None] = [
            None if request.depends_on_source else next(made) for request in requests
        ]

    def of(self, image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
        """The styles [requests, S] for a source, uint8 [H, W, 3], as it is translated; progress calls it `name`.

        Raises EngineError, and BundleError for a classifier that cannot be used.
        """
        known = [row for row in self._rows if row is not None]
        if len(known) == len(self._rows):
            return np.stack(known)
        has = self._translator.read_labels(image)
        self.has[name] = list(has)
        attributes = ", ".join(has) or "none of the attributes"
        self._progress(f"{name} has {attributes}")
        return np.stack([
            self._changed(request, has) if row is None else row
            for request, row in zip(self._requests, self._rows, strict=True)
        ])  # fmt: skip

    def _changed(self, request: StyleRequest, has: Sequence[str]) -> NDArray[np.float32]:
        change = request.change
        assert change is not None
        return self._translator.labels(set=change.on, unset=change.off, flip=change.flip, has=has)
