"""What is compared: one row is one way to run the same generator on the same picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import OptionError

Run = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to run a model. `engine` is "eager", "eager-channels-last", "compiled" or a backend's name."""

    engine: str
    checkpoint: Path
    bundle: Path
    batch: int = 1
    threads: int = 1

    @property
    def label(self) -> str:
        return LABELS.get(self.engine, f"bundle on {self.engine}")


LABELS = {
    "eager": "PyTorch eager",
    "eager-channels-last": "PyTorch eager, channels last",
    "compiled": "torch.compile",
    "onnxruntime": "bundle on ONNX Runtime",
    "openvino": "bundle on OpenVINO",
}


def open_row(row: Row) -> Run:
    """Load a row's model; the result translates the benchmark's pictures once, uint8 in and out [N, H, W, 3]."""
    if row.engine in ("eager", "eager-channels-last", "compiled"):
        return _open_pytorch(row)
    return _open_bundle(row)


def pictures(height: int, width: int, batch: int) -> NDArray[np.uint8]:
    """The same textured pictures on every machine, uint8 [batch, height, width, 3]: a flat one would make the
    variance under the instance norm vanish, and engines differ there."""
    draw = np.random.RandomState(0)
    coarse = draw.randint(0, 256, (batch, height // 8, width // 8, 3))
    noise = draw.randint(-20, 21, (batch, height, width, 3))
    levels: NDArray[np.int_] = coarse.repeat(8, axis=1).repeat(8, axis=2) + noise
    return levels.clip(0, 255).astype(np.uint8)


def _open_bundle(row: Row) -> Run:
    from starcast.runtime.translator import Translator

    translator = Translator(row.bundle, backend=row.engine, threads=row.threads)
    images = pictures(*translator.size, row.batch)
    style = translator.style(domain=0, seed=0)
    return lambda: translator(images, style)


def _open_pytorch(row: Row) -> Run:
    import torch

    from starcast.train.checkpoint import averaged_networks, read_checkpoint

    torch.set_num_threads(row.threads)
    checkpoint = read_checkpoint(row.checkpoint)
    networks = averaged_networks(checkpoint)
    size = checkpoint.config.image_size
    memory_format = torch.contiguous_format if row.engine == "eager" else torch.channels_last
    generator: Any = networks.generator.to(memory_format=memory_format)
    if row.engine == "compiled":
        generator = torch.compile(generator)
    elif not row.engine.startswith("eager"):
        raise OptionError(f"--rows has {row.engine!r}, which is no engine: see `starcast doctor`")
    images = torch.from_numpy(pictures(size, size, row.batch))
    latent = np.random.RandomState(0).standard_normal(checkpoint.config.latent_dim).astype(np.float32)

    @torch.inference_mode()
    def run() -> NDArray[np.uint8]:
        source = (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=memory_format)
        levels = generator(source, style.expand(row.batch, -1)) * 127.5 + 127.5
        translated: NDArray[np.uint8] = levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return translated

    with torch.inference_mode():
        style = networks.mapping_network(torch.from_numpy(latent)[None], torch.zeros(1, dtype=torch.int64))
    return run
