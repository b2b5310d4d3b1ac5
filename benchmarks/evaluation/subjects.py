"""What is evaluated: a checkpoint in PyTorch, or a bundle on an engine. Both make styles, and translate or generate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starcast.benchmarks.evaluation.protocol import GENERATED, LABELS, LATENT, REFERENCE
from starcast.errors import OptionError, printable
from starcast.export.families import complete, open_model
from starcast.export.gate.reference import from_bytes
from starcast.export.options import ExportOptions
from starcast.images.white import on_white
from starcast.runtime.bundle import open_bundle
from starcast.runtime.labels import target_labels
from starcast.runtime.manifest import MANIFEST, Condition, LabelMaker, NoiseInput
from starcast.runtime.noise import draw_noise
from starcast.runtime.options import EngineChoice
from starcast.runtime.styles import draw_latents
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import hash_of, read_checkpoint
from starcast.train.checkpoint.folder import choose_checkpoint

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Progress = Callable[[str], None]

Row = TypeVar("Row", np.float32, np.uint8)

LATENTS = 32  # that a bundle maps at once
CPU_BATCH, GPU_BATCH = 4, 32  # images in one pass of a checkpoint's generator


class Subject(ABC):
    """A model that translates images into domains, or makes them from styles. Its methods are called in one thread."""

    domains: tuple[str, ...]  # empty if it makes images from styles alone
    size: tuple[int, int]  # height and width of its images
    modes: tuple[str, ...]  # where its styles may come from
    labels: LabelMaker | None  # in the mode LABELS

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What identifies the model, its engine and precision, for the report."""

    @abstractmethod
    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        """The styles (count, S), or (count, layers, S), of the stream's next latents, without truncation."""

    @abstractmethod
    def reference_style(self, domain: int, image: Pixels) -> Floats:
        """The style (S,) of an image, uint8 [H, W, 3] of the model's size."""

    def label_style(self, source: str, target: str) -> Floats:
        """The style (S,) that gives an image labelled `source` the label `target`. Its other labels are unknown."""
        assert self.labels is not None  # `modes` says so
        return target_labels(self.labels, on=[target], has=[name for name in [source] if self._is_attribute(name)])

    @abstractmethod
    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        """Translate N images, uint8 (N, H, W, 3) of the model's size, O times each: float32 (O * N, 3, H, W) in -1..1,
        not clipped, on the CPU. `styles` (O * N, S) has the first style of every image, then the second, and so on."""

    @abstractmethod
    def generate(self, styles: Floats, draws: np.random.RandomState) -> Pixels:
        """Styles (N, layers, S) -> RGB images, uint8 (N, H, W, 3), with the stream's next noise for each image."""

    def close(self) -> None:
        """Free the engine."""
        return None

    def _is_attribute(self, name: str) -> bool:
        return self.labels is not None and name in self.labels.attribute_names


def to_levels(outputs: Tensor) -> Pixels:
    """Outputs (N, C, H, W) in -1..1 as uint8 (N, H, W, C), rounded half up as the official program saves images."""
    levels = ((outputs + 1) / 2).clamp(0, 1).mul(255).add(0.5).clamp(0, 255)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / MANIFEST).is_file()


def open_subject(
    path: Path, names: ExportOptions, engine: EngineChoice, device: torch.device, progress: Progress
) -> Subject:
    """Open a checkpoint, a run's folder or a bundle. `names` has its domains' names, in order. Raises StarcastError."""
    if is_bundle(path):
        return _Bundle(path, names, engine, progress)
    return _Checkpoint(path, names, device, progress)


def _modes_of(path: Path, condition: Condition, *, takes_source: bool) -> tuple[str, ...]:
    """Where a model's styles may come from. Raises OptionError if from nowhere that `evaluate` knows."""
    makers = ((LATENT, condition.latent), (REFERENCE, condition.reference), (LABELS, condition.labels))
    modes = tuple(mode for mode, maker in makers if maker is not None)
    if not takes_source:
        modes = (GENERATED,) if condition.latent is not None else ()
    if not modes:
        raise OptionError(
            f"{printable(path)} makes no styles from latents, references or labels: `evaluate` cannot measure it"
        )
    return modes


def pad(rows: NDArray[Row], count: int) -> NDArray[Row]:
    """The rows, padded to `count` by repeating the last one."""
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])


def _passes(outputs: int, images: int, batch: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """The outputs of each pass, and the places of their images, which repeat."""
    for start in range(0, outputs, batch):
        part = slice(start, min(start + batch, outputs))
        yield part, np.arange(part.start, part.stop) % images


class _Checkpoint(Subject):
    def __init__(self, path: Path, names: ExportOptions, device: torch.device, progress: Progress) -> None:
        chosen = choose_checkpoint(path)
        if chosen.note:
            progress(chosen.note)
        checkpoint = complete(read_checkpoint(chosen.path), names)
        self._path, self._family, self._step = path, checkpoint.family, checkpoint.step
        self._sha256 = hash_of(chosen.path)
        self._model = open_model(checkpoint, checkpoint.domain_names)
        condition = self._model.condition(None)
        self.modes = _modes_of(path, condition, takes_source=self._model.stride is not None)
        self.domains, self.size = tuple(self._model.domains), (self._model.side, self._model.side)
        self.labels, self._latent = condition.labels, condition.latent
        self._noise = [
            NoiseInput(name=name, height=noise.shape[2], width=noise.shape[3])
            for name, noise in self._model.noise.items()
        ]
        graphs = {graph.file: graph for graph in self._model.style_graphs()}
        self._mapping = graphs[condition.latent.graph] if condition.latent is not None else None
        self._device, self._batch = device, GPU_BATCH if device.type == "cuda" else CPU_BATCH

    def facts(self) -> dict[str, Any]:
        return {
            "path": str(self._path), "kind": "checkpoint", "family": self._family, "step": self._step,
            "sha256": self._sha256, "engine": f"PyTorch on {self._device.type}", "precision": "fp32",
        }  # fmt: skip

    @torch.inference_mode()
    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        assert self._mapping is not None  # `modes` says so
        assert self._latent is not None
        inputs = [torch.from_numpy(draw_latents(draws, count, self._latent.size))]
        if "domain" in self._mapping.example:
            inputs.append(torch.full((count,), domain))
        styles: Floats = self._mapping.reference(*inputs).numpy()
        if self._model.layers is None:
            return styles
        return np.repeat(styles[:, None], self._model.layers, axis=1)

    def reference_style(self, domain: int, image: Pixels) -> Floats:
        style = self._model.reference_style(domain, image)
        assert style is not None  # `modes` says so
        vector: Floats = style[0]
        return vector

    @torch.inference_mode()
    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        outputs = []
        # the styles' networks stay on the CPU: they take a small part of the time
        generator = self._model.reference.to(self._device)
        made = self._model.extras(images)  # such as masks of faces: once an image, not once an output
        extras = [made[one.name] for one in self._model.extra_inputs]
        for part, places in _passes(len(styles), len(images), self._batch):
            arrays = (images[places], styles[part], *(array[places] for array in extras))
            source, *others = (torch.from_numpy(array).to(self._device) for array in arrays)
            outputs.append(generator(from_bytes(source), *others).float().cpu())
        return torch.cat(outputs)

    @torch.inference_mode()
    def generate(self, styles: Floats, draws: np.random.RandomState) -> Pixels:
        generator = self._model.reference.to(self._device)
        images = []
        for start in range(0, len(styles), self._batch):
            part = styles[start : start + self._batch]
            noise = draw_noise(self._noise, draws, len(part)).values()
            inputs = [torch.from_numpy(array).to(self._device) for array in (part, *noise)]
            images.append(on_white(to_levels(generator(*inputs).float().cpu())))
        return np.concatenate(images)


class _Bundle(Subject):
    """A bundle. Its graphs get the same number of rows in every call, so that a restart does not change the figures.
    The last digits may depend on the size of a batch and, with OpenVINO, on the batches before it."""

    def __init__(self, path: Path, names: ExportOptions, engine: EngineChoice, progress: Progress) -> None:
        bundle = open_bundle(path)
        manifest = bundle.manifest
        self.modes = _modes_of(path, manifest.condition, takes_source=manifest.source is not None)
        given = (*names.attributes, *names.domains)
        if given and len(given) != len(manifest.domains):
            raise OptionError(
                f"--domains names {len(given)} domains, but {printable(path)} has {len(manifest.domains)}: name each"
            )
        if given and manifest.condition.labels is not None:
            raise OptionError(f"{printable(path)} names its labels itself: leave --domains and --attributes out")
        self._path, self._sha256 = path, bundle.sha256
        self._latent, self.labels = manifest.condition.latent, manifest.condition.labels
        self._noise = manifest.noise_inputs
        self._translator = Translator(bundle, **engine.engine, progress=progress)
        self.domains, self.size = given or tuple(manifest.domains), self._translator.size

    def facts(self) -> dict[str, Any]:
        engine = self._translator.facts()
        return {
            "path": str(self._path), "kind": "bundle", "sha256": self._sha256, "engine": engine["name"],
            "precision": engine["precision"], "form": engine["form"],
        }  # fmt: skip

    def latent_styles(self, domain: int, count: int, draws: np.random.RandomState) -> Floats:
        assert self._latent is not None  # `modes` says so
        latents = draw_latents(draws, count, self._latent.size)
        number = domain if self.domains else None
        styles = [
            self._translator.style(number, latent=pad(latents[start : start + LATENTS], LATENTS))
            for start in range(0, count, LATENTS)
        ]
        return np.concatenate(styles)[:count]

    def reference_style(self, domain: int, image: Pixels) -> Floats:
        return self._translator.style(domain, reference=image)

    def translate(self, images: Pixels, styles: Floats) -> Tensor:
        batch = self._translator.batch
        outputs = [
            from_bytes(torch.from_numpy(self._translator(pad(images[places], batch), pad(styles[part], batch))))
            for part, places in _passes(len(styles), len(images), batch)
        ]
        return torch.cat(outputs)[: len(styles)].contiguous()

    def generate(self, styles: Floats, draws: np.random.RandomState) -> Pixels:
        batch, images = self._translator.batch, []
        for start in range(0, len(styles), batch):
            part = styles[start : start + batch]
            noise = [pad(array, batch) for array in draw_noise(self._noise, draws, len(part)).values()]
            images.append(on_white(self._translator.generate(pad(part, batch), noise or "zero")))
        return np.concatenate(images)[: len(styles)]

    def close(self) -> None:
        self._translator.close()
