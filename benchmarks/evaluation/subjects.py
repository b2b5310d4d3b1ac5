"""What is evaluated: a checkpoint in PyTorch, or a bundle on an engine. Both make styles and translate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.evaluation.protocol import LATENT, REFERENCE
from starcast.errors import OptionError, printable
from starcast.export.families import complete, open_model
from starcast.export.gate.reference import from_bytes
from starcast.export.options import ExportOptions
from starcast.runtime.bundle import open_bundle
from starcast.runtime.manifest import MANIFEST
from starcast.runtime.options import EngineChoice
from starcast.runtime.styles import draw_latents
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import hash_of, read_checkpoint
from starcast.train.checkpoint.folder import choose_checkpoint

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

CPU_BATCH, GPU_BATCH = 4, 32  # images in one pass of a checkpoint's generator


class Subject(ABC):
    """A model that translates images into domains. Its methods are called in one thread."""

    domains: tuple[str, ...]
    size: tuple[int, int]  # height and width of its images
    modes: tuple[str, ...]  # where its styles may come from

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What identifies the model, its engine and precision, for the report."""

    @abstractmethod
    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        """The styles (count, S) of the stream's next latents, without truncation."""

    @abstractmethod
    def reference_style(self, domain: int, image: Pixels) -> Floats:
        """The style (S,) of an image, uint8 [H, W, 3] of the model's size."""

    @abstractmethod
    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        """uint8 (N, H, W, 3) of the model's size, (N, S) -> float32 (N, 3, H, W) in -1..1, not clipped, on the CPU."""

    def close(self) -> None:
        """Free the engine."""
        return None


def to_levels(outputs: Tensor) -> Pixels:
    """Outputs (N, 3, H, W) in -1..1 as uint8 (N, H, W, 3), rounded half up as the official program saves images."""
    levels = ((outputs + 1) / 2).clamp(0, 1).mul(255).add(0.5).clamp(0, 255)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / MANIFEST).is_file()


def open_subject(
    path: Path, names: Sequence[str], engine: EngineChoice, device: torch.device, progress: Callable[[str], None]
) -> Subject:
    """Open a checkpoint, a run's folder or a bundle. `names`: its domains' names, in order. Raises StarcastError."""
    if is_bundle(path):
        return _Bundle(path, names, engine, progress)
    return _Checkpoint(path, names, device, progress)


def _refuse_others(path: Path, modes: Sequence[str]) -> None:
    if not modes:
        raise OptionError(
            f"{printable(path)} makes styles neither from latents nor from references: `evaluate` measures models that "
            "translate between domains, such as StarGAN v2"
        )


class _Checkpoint(Subject):
    def __init__(self, path: Path, names: Sequence[str], device: torch.device, progress: Callable[[str], None]) -> None:
        chosen = choose_checkpoint(path)
        if chosen.note:
            progress(chosen.note)
        checkpoint = complete(read_checkpoint(chosen.path), ExportOptions(domains=tuple(names)))
        self._path, self._family, self._step = path, checkpoint.family, checkpoint.step
        self._sha256 = hash_of(chosen.path)
        self._model = open_model(checkpoint, checkpoint.domain_names)
        condition = self._model.condition(None)
        self.modes = tuple(
            mode for mode, maker in ((LATENT, condition.latent), (REFERENCE, condition.reference)) if maker is not None
        )
        _refuse_others(path, self.modes if self._model.stride is not None else ())
        self.domains, self.size = tuple(self._model.domains), (self._model.side, self._model.side)
        self._device, self._batch = device, GPU_BATCH if device.type == "cuda" else CPU_BATCH

    def facts(self) -> dict[str, Any]:
        return {
            "path": str(self._path), "kind": "checkpoint", "family": self._family, "step": self._step,
            "sha256": self._sha256, "engine": f"PyTorch on {self._device.type}", "precision": "fp32",
        }  # fmt: skip

    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        return np.concatenate([self._model.draw_style(domain, draws) for _ in range(count)])

    def reference_style(self, domain: int, image: Pixels) -> Floats:
        style = self._model.reference_style(domain, image)
        assert style is not None  # `modes` says so
        vector: Floats = style[0]
        return vector

    @torch.inference_mode()
    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        outputs = []
        # the styles' networks stay on the CPU: they take a small part of the time
        generator = self._model.generator.to(self._device)
        for start in range(0, len(images), self._batch):
            part = slice(start, start + self._batch)
            source = from_bytes(torch.from_numpy(images[part]).to(self._device))
            outputs.append(generator(source, torch.from_numpy(styles[part]).to(self._device)).float().cpu())
        return torch.cat(outputs)


class _Bundle(Subject):
    def __init__(self, path: Path, names: Sequence[str], engine: EngineChoice, progress: Callable[[str], None]) -> None:
        bundle = open_bundle(path)
        manifest = bundle.manifest
        makers = ((LATENT, manifest.condition.latent), (REFERENCE, manifest.condition.reference))
        self.modes = tuple(mode for mode, maker in makers if maker is not None)
        _refuse_others(path, self.modes if manifest.source is not None else ())
        if names and len(names) != len(manifest.domains):
            raise OptionError(
                f"--domains names {len(names)} domains, but {printable(path)} has {len(manifest.domains)}: name each"
            )
        self._path, self._sha256 = path, bundle.sha256
        self._latent = manifest.condition.latent
        self._translator = Translator(bundle, **engine.engine, progress=progress)
        self.domains, self.size = tuple(names) or tuple(manifest.domains), self._translator.size

    def facts(self) -> dict[str, Any]:
        engine = self._translator.facts()
        return {
            "path": str(self._path), "kind": "bundle", "sha256": self._sha256, "engine": engine["name"],
            "precision": engine["precision"], "form": engine["form"],
        }  # fmt: skip

    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        assert self._latent is not None  # `modes` says so
        return self._translator.style(domain, latent=draw_latents(draws, count, self._latent.size))

    def reference_style(self, domain: int, image: Pixels) -> Floats:
        return self._translator.style(domain, reference=image)

    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        batch = self._translator.batch
        outputs = [
            from_bytes(torch.from_numpy(self._translator(images[start : start + batch], styles[start : start + batch])))
            for start in range(0, len(images), batch)
        ]
        return torch.cat(outputs).contiguous()

    def close(self) -> None:
        self._translator.close()
