"""Images whose style a client may ask for, by the name that the server gave them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import StyleError
from starcast.images.fit import fit
from starcast.runtime.manifest import ReferenceMaker
from starcast.runtime.translator import Translator

_KEPT = 64
Style = NDArray[np.float32]


class References:
    """Keeps the last images at the size of which the style is taken."""

    def __init__(self, maker: ReferenceMaker | None) -> None:
        self._maker = maker
        self._images: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, image: NDArray[np.uint8]) -> str:
        """Keep an image, uint8 RGB [H, W, 3]; its name. Raises StyleError if the model takes no references."""
        if self._maker is None:
            raise StyleError("this model takes no references: give a seed or labels")
        small = np.ascontiguousarray(fit(image, (self._maker.height, self._maker.width), "stretch"))
        name = hashlib.sha256(small.tobytes()).hexdigest()[:16]
        with self._lock:
            self._images[name] = small
            self._images.move_to_end(name)
            if len(self._images) > _KEPT:
                self._images.popitem(last=False)
        return name

    def style(self, translator: Translator, *, reference: Any = None, **arguments: Any) -> Style:
        """`Translator.style`, with a name for `reference`. Raises what that raises, and StyleError for a name that is
        not known."""
        if reference is not None:
            with self._lock:
                image = self._images.get(reference)
            if image is None:
                raise StyleError("the server no longer has this reference: drop it once more")
            arguments["reference"] = image
        return translator.style(**arguments)
