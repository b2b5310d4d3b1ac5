"""Translate images and videos with a bundle; imports neither torch nor onnx.

The public names load when they are used, so that `--help` loads no engine and no image library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starcast.images.read import read_image
    from starcast.images.write import write_image
    from starcast.runtime.bundle import Bundle, open_bundle
    from starcast.runtime.options import StyleOptions
    from starcast.runtime.style_requests import StyleRequest, requests_from
    from starcast.runtime.translator import Translator

__all__ = [
    "Bundle",
    "StyleOptions",
    "StyleRequest",
    "Translator",
    "open_bundle",
    "read_image",
    "requests_from",
    "write_image",
]

_HOMES = {
    "Bundle": "starcast.runtime.bundle", "open_bundle": "starcast.runtime.bundle",
    "StyleOptions": "starcast.runtime.options",
    "StyleRequest": "starcast.runtime.style_requests", "requests_from": "starcast.runtime.style_requests",
    "Translator": "starcast.runtime.translator",
    "read_image": "starcast.images.read", "write_image": "starcast.images.write",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
