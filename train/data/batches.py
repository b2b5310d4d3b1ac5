"""Folders of images -> batches. The batch of a step is a pure function of the step: no epoch, no state, no order.

Balanced by domain, sources and references alike: a domain is drawn first, each as likely as the next, then an image
of it, with replacement. A reference pair is two different images of one domain, drawn anew at every step.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from starcast.errors import DatasetError, ImageError, TrainingError
from starcast.train.data.folders import DataSet
from starcast.train.families.stargan_v2.step import Batch
from starcast.train.options import TrainOptions
from starcast.train.pictures import read_picture
from starcast.train.randomness import draws, torch_seed

MOST_WORKERS = 8  # of what the machine has: more than one card can use


@dataclass(frozen=True)
class Drawn:
    """One step's batch, or why there is none; `unreadable` names the files that others stand in for."""

    batch: Batch | None
    unreadable: tuple[str, ...] = ()
    failure: str | None = None  # text, not an error: a loader's worker would send its traceback along

    def pin_memory(self) -> Drawn:
        """The same in memory from which a card reads while it computes; torch's loader calls it."""
        if self.batch is None:
            return self
        tensors = (getattr(self.batch, field.name).pin_memory() for field in dataclasses.fields(self.batch))
        return dataclasses.replace(self, batch=Batch(*tensors))


def training_transform(size: int, crop_probability: float) -> v2.Transform:
    """uint8 (3, H, W) -> uint8 (3, size, size): now and then a crop, always a resize, a mirror image half the time."""
    crop = v2.RandomResizedCrop((size, size), scale=(0.8, 1.0), ratio=(0.9, 1.1), antialias=True)
    return v2.Compose(
        [
            v2.RandomApply([crop], crop_probability),
            v2.Resize((size, size), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )


def to_signed(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in -1..1."""
    return (pixels.float() / 255 - 0.5) / 0.5


def to_step(batch: Batch, device: torch.device, layout: torch.memory_format) -> Batch:
    """A loader's batch as a step takes it: on the device, its images in that memory format and in -1..1. They come as
    bytes, a quarter of what they become, through memory that is shared with workers: a container has little of it."""
    there = batch.to(device)
    images = {
        field.name: to_signed(value).contiguous(memory_format=layout)
        for field in dataclasses.fields(there)
        if (value := getattr(there, field.name)).dtype == torch.uint8
    }
    return dataclasses.replace(there, **images)


def worker_count(asked: int | None, device: torch.device) -> int:
    """How many processes decode: what was asked for, else two, and for a card, which is fast, most of the cores."""
    if asked is not None:
        return asked
    return 2 if device.type == "cpu" else max(2, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))


class StepBatches(Dataset[Drawn]):
    """Item k is the batch of step k, its images uint8. Picklable, so that it works in spawned workers, `workers` of
    which share the memory for decoded images."""

    def __init__(self, data_set: DataSet, options: TrainOptions, *, workers: int = 0, rank: int = 0) -> None:
        self.images = [domain.training for domain in data_set.domains]
        self.names = data_set.names
        self.seed = options.seed
        self.rank = rank
        self.batch_size = options.batch_size
        self.latent_dim = options.latent_dim
        self.transform = training_transform(options.image_size, options.crop_probability)
        self.decoded = DecodedImages(options.cache_mb * 2**20 // max(1, workers))

    def __getitem__(self, step: int) -> Drawn:
        self.decoded.bad.clear()
        try:
            batch = self._batch(step)
        except DatasetError as error:
            return Drawn(None, tuple(self.decoded.bad), str(error))
        return Drawn(batch, tuple(self.decoded.bad))

    def _batch(self, step: int) -> Batch:
        source_domain = self._domains(step, "source domain")
        domain = self._domains(step, "reference domain")
        source = self._picks(step, "source", source_domain)
        reference, reference2 = self._pairs(step, domain)
        return Batch(
            source=self._load(step, "source", source_domain, source, source),
            source_domain=torch.from_numpy(source_domain),
            reference=self._load(step, "reference", domain, reference, reference2),
            reference2=self._load(step, "second reference", domain, reference2, reference),
            domain=torch.from_numpy(domain),
            latent=self._latents(step, "latent"),
            latent2=self._latents(step, "second latent"),
        )

    def _domains(self, step: int, purpose: str) -> NDArray[np.int64]:
        return draws(self.seed, step, self.rank, purpose).integers(len(self.images), size=self.batch_size)

    def _picks(self, step: int, purpose: str, domains: NDArray[np.int64]) -> NDArray[np.int64]:
        counts = np.array([len(self.images[domain]) for domain in domains])
        return draws(self.seed, step, self.rank, purpose).integers(counts)

    def _pairs(self, step: int, domains: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Two different images of each domain; the same one twice where a domain has only one."""
        counts = np.array([len(self.images[domain]) for domain in domains])
        first = self._picks(step, "reference", domains)
        further = draws(self.seed, step, self.rank, "second reference").integers(np.maximum(counts - 1, 1))
        return first, (first + 1 + further) % counts

    def _latents(self, step: int, purpose: str) -> Tensor:
        shape = (self.batch_size, self.latent_dim)
        return torch.from_numpy(draws(self.seed, step, self.rank, purpose).standard_normal(shape, dtype=np.float32))

    def _load(
        self, step: int, purpose: str, domains: NDArray[np.int64], picks: NDArray[np.int64],
        partners: NDArray[np.int64],
    ) -> Tensor:  # fmt: skip
        """uint8 (N, 3, size, size), augmented with draws of this purpose; a pair's other half is no stand-in."""
        pixels = [
            self._readable(step, f"{purpose} {slot}", int(domain), int(pick), int(partner))
            for slot, (domain, pick, partner) in enumerate(zip(domains, picks, partners, strict=True))
        ]
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's own generator
            torch.default_generator.manual_seed(torch_seed(self.seed, step, self.rank, f"augment {purpose}"))
            return torch.stack([self.transform(picture) for picture in pixels])

    def _readable(self, step: int, purpose: str, domain: int, pick: int, partner: int) -> Tensor:
        """The picked image; for one that cannot be read, the first readable of a shuffle that this step decides."""
        images = self.images[domain]
        picture = self.decoded.read(images[pick])
        if picture is not None:
            return picture
        others = draws(self.seed, step, self.rank, f"instead of {purpose}").permutation(len(images))
        for other in sorted(others.tolist(), key=lambda other: other == partner):  # the partner is the last resort
            picture = self.decoded.read(images[other])
            if picture is not None:
                return picture
        raise DatasetError(
            f"none of the {len(images)} training images of the domain {self.names[domain]!r} can be read: "
            "`starcast dataset check` says why for each"
        )


class DecodedImages:
    """Files as uint8 (3, H, W), kept in memory until `budget` bytes are full: decoding costs more than the rest."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.kept: dict[Path, Tensor] = {}
        self.unreadable: dict[Path, str] = {}
        self.bad: dict[str, None] = {}  # what was asked for and could not be read since this was last cleared

    def read(self, path: Path) -> Tensor | None:
        """The picture, or None where the file cannot be read."""
        if path in self.kept:
            return self.kept[path]
        if path not in self.unreadable:
            try:
                picture = torch.from_numpy(read_picture(path).transpose(2, 0, 1).copy())
            except ImageError as error:
                self.unreadable[path] = str(error)
            else:
                if picture.nbytes <= self.budget:
                    self.budget -= picture.nbytes
                    self.kept[path] = picture
                return picture
        self.bad[self.unreadable[path]] = None
        return None


def batches(
    dataset: StepBatches, steps: range, *, workers: int, pin: bool, report: Callable[[str], None]
) -> Generator[Batch, None, None]:
    """The batch of each step, in order, prepared ahead by `workers` processes, which start now; close it to end them.

    Each unreadable file is reported once. Raises DatasetError where a domain has no readable image, and TrainingError
    where a process is ended from outside.
    """
    loader: DataLoader[Drawn] = DataLoader(
        dataset, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_run if workers else None,
    )  # fmt: skip
    return _reported(iter(loader), report)


def _reported(all_drawn: Iterator[Drawn], report: Callable[[str], None]) -> Generator[Batch, None, None]:
    reported: set[str] = set()
    try:
        for drawn in all_drawn:
            for sentence in drawn.unreadable:
                if sentence not in reported:
                    reported.add(sentence)
                    report(f"{sentence} (another image of its domain stands in)")
            if drawn.batch is None:
                raise DatasetError(drawn.failure or "there is no batch")
            yield drawn.batch
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        told = str(error).partition("\n")[0] or type(error).__name__
        raise TrainingError(
            f"a process that decodes images was ended ({told}): give fewer --workers, or --workers 0, and a container "
            "more shared memory (--shm-size 1g)"
        ) from error
    finally:
        del all_drawn  # ends the workers now, even where a traceback would keep this frame


def _leave_signals_to_the_run(_worker: int) -> None:
    """Ctrl-C and SIGTERM may reach the whole process group: the run saves first, and then ends its workers.

    Only the first SIGTERM is passed over, because multiprocessing uses it to end what is left at the very end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: signal.signal(number, signal.SIG_DFL))
