"""How ncnn runs a graph in little memory: kernels that it stores smaller, and one pool for its blobs.

ncnn runs 3x3 convolutions by Winograd's algorithm, in tiles of 4x4 outputs, and stores their kernels transformed: 36
numbers instead of 9. In tiles of 2x2 outputs it stores 16. These take more arithmetic, but where a map is small and has
many channels, reading the kernels takes longer than the arithmetic. So the AFHQ generator at 256 px is as fast, and its
nine layers of 512 channels at 16x16 hold 151 MB instead of 340.

By default ncnn keeps two pools of freed blobs, and lets any large one serve a small request. Both grew for several
images, to 400 MB for 256 px. One pool, whose blobs serve requests of at least half their size, stays at 208 MB. Large
images do without it (ncnn_arena.py).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from starcast.runtime.engines.ncnn_graph import NcnnGraph
from starcast.runtime.engines.ncnn_layers import Layer, NcnnGraphError

NOMINAL = 256  # px; the side of an image for which maps are called small
SMALL_MAP = 16  # px; the sides of a map
MANY_WEIGHTS = 2**21  # numbers; 512 channels in, 512 out
# ncnn chooses 2x2 tiles for maps of 3 to 12 px. On CPUs it uses a shape from the text for this choice only.
_HINT = " -23330=4,3,8,8,{channels}"
_REUSE = 0.5  # least share of a free blob that a request must fill


def with_small_kernels(text: str, graph: NcnnGraph) -> str:
    """The text of a graph, which makes ncnn store the kernels of small maps with many channels for 2x2 tiles."""
    try:
        channels = _small_maps(graph)
    except NcnnGraphError:  # running it says why
        return text
    return "".join(f"{line}{_hint(line, channels)}\n" for line in text.splitlines())


def held_bytes(graph: NcnnGraph) -> int:
    """Bytes of the weights as ncnn stores a graph `with_small_kernels`. Raises NcnnGraphError if shapes do not fit."""
    small = _small_maps(graph)
    more = 0
    for layer in graph.layers:
        if _is_winograd(layer):
            kernels = layer.whole(6) // 9
            more += 4 * kernels * ((16 if layer.name in small else 36) - 9)
    return graph.weight_bytes + more


def _small_maps(graph: NcnnGraph) -> dict[str, int]:
    """The layers whose kernels are stored for small tiles, with the channels that they make. Raises NcnnGraphError."""
    return {
        layer.name: made[0][0]
        for layer, _, made in graph.walk(NOMINAL, NOMINAL)
        if _is_winograd(layer) and layer.whole(6) >= MANY_WEIGHTS and max(made[0][1:]) <= SMALL_MAP
    }


def _hint(line: str, channels: Mapping[str, int]) -> str:
    name = line.split()[1] if len(line.split()) > 1 else ""
    return _HINT.format(channels=channels[name]) if name in channels else ""


def make_pool(ncnn: ModuleType) -> Any:
    """A pool for all blobs of a net. It must outlive the net and everything that the net returns."""
    pool = ncnn.PoolAllocator()
    pool.set_size_compare_ratio(_REUSE)
    return pool


def trim_heap() -> None:
    """Return to the system what is free between other memory: 33 MB after loading the AFHQ generator, whose file's
    kernels ncnn frees one by one. Only glibc keeps that much, and has a function for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _is_winograd(layer: Layer) -> bool:
    """Whether ncnn runs a layer by Winograd's algorithm: a 3x3 convolution of stride 1, not dilated."""
    if layer.kind != "Convolution":
        return False
    width, dilation, stride = layer.whole(1), layer.whole(2, 1), layer.whole(3, 1)
    sides = (width, layer.whole(11, width), dilation, layer.whole(12, dilation), stride, layer.whole(13, stride))
    return sides == (3, 3, 1, 1, 1, 1)
