"""What every route works with: the opened bundle, its live feeds, and the limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.bundle import Bundle
from starcast.runtime.live.model import LiveModel
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.references import References
from starcast.runtime.translator import Translator

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Service:
    """One bundle and its engine, which all clients share. `images` decodes what a client sent to RGB [H, W, 3]; it
    raises ImageError. `log` gets lines for the operator."""

    bundle: Bundle
    translator: Translator
    model: LiveModel
    limits: Limits
    references: References
    images: Callable[[bytes], Awaitable[Image]]
    log: Callable[[str], None]

    async def translate(self, images: Image, styles: NDArray[np.float32]) -> Image:
        """Translate uint8 RGB [N, H, W, 3] or [H, W, 3], beside the server's other work. Raises what the translator
        raises. The translator itself lets one call after the other onto the engine."""
        return await asyncio.to_thread(self.translator, images, styles)

    async def style(self, **arguments: Any) -> NDArray[np.float32]:
        """`Translator.style`, beside the server's other work."""
        return await asyncio.to_thread(lambda: self.translator.style(**arguments))
