"""The images of an evaluation: each domain's training and held-out images, with a hash of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starcast.atomic import repair_folder
from starcast.benchmarks.evaluation.protocol import ALL
from starcast.errors import DatasetError, ImageError, OptionError, printable
from starcast.images.formats import READ_IN_WORDS
from starcast.images.read import read_image
from starcast.runtime.cores import allowed_threads
from starcast.runtime.marks import hash_content
from starcast.runtime.stages import map_ahead, open_pool
from starcast.train.data.folders import Domain, images_below, in_words, is_held_out, scan

READERS = max(2, min(8, allowed_threads()))  # threads that read, resize and normalise: most of the time on a GPU
AHEAD = 16

Progress = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationDomain:
    """A domain of the data. `hashes` go with the training images, `held_out_hashes` with the held-out ones."""

    name: str
    training: tuple[Path, ...]
    held_out: tuple[Path, ...]
    hashes: tuple[str, ...]
    held_out_hashes: tuple[str, ...]


def match_domains(data: Path, names: Sequence[str], progress: Progress) -> dict[str, int]:
    """The domains that are both in the data and among `names`, a model's domains: sorted by name, each with its number
    in the model. `progress` gets a line for what is left out or assumed. Raises DatasetError and OptionError."""
    found = {domain.name for domain in scan(data).domains}
    shared = sorted(found & set(names))
    if not shared and len(found) == len(names):
        # official files hold no names, and number the domains in this order
        progress(f"The model's domains {in_words(names)} are taken to be {in_words(sorted(found))}, in this order")
        return {name: number for number, name in enumerate(sorted(found))}
    if not shared:
        raise OptionError(
            f"{printable(data)} has the domains {in_words(sorted(found))}, and the model has {in_words(names)}: name "
            "the model's domains, in its order, with --domains"
        )
    for where, others in (("the model", found - set(names)), (printable(data), set(names) - found)):
        if others:
            progress(f"Left out, not in {where}: {in_words(sorted(others))}")
    return {name: list(names).index(name) for name in shared}


def read_domains(
    data: Path, training: Path | None, names: Sequence[str], progress: Progress, fail: Progress
) -> list[EvaluationDomain]:
    """The images of these domains.

    `training`: the folder of the training images, if they lie apart; then all images of `data` are held out, unless it
    has splits. `progress` gets a line for what is assumed, `fail` one for each held-out image that cannot be read,
    which is left out. Raises DatasetError.
    """
    found = {domain.name: domain for domain in scan(data).domains}
    trained = found if training is None else {domain.name: domain for domain in scan(training).domains}
    domains = []
    for name in names:
        held_out, real = _split(data, training, found[name], trained.get(name), progress)
        readable = _readable(held_out, fail)
        if not readable:
            raise DatasetError(f"{printable(data)}: the domain {name!r} has no readable image to translate: add some")
        domains.append(EvaluationDomain(name, real, tuple(readable), tuple(_hashes(real)), tuple(readable.values())))
    return domains


def read_all(data: Path) -> EvaluationDomain:
    """The real images of a model without domains: all below `data`, except those in folders of held-out images.

    Raises DatasetError if there is none.
    """
    repair_folder(data)
    paths = sorted(path for path in images_below(data) if not is_held_out(path.relative_to(data)))
    if not paths:
        raise DatasetError(f"{printable(data)} has no training image: add some ({READ_IN_WORDS})")
    return EvaluationDomain(ALL, tuple(paths), (), tuple(_hashes(paths)), ())


def _split(
    data: Path, training: Path | None, domain: Domain, trained: Domain | None, progress: Progress
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """A domain's held-out and training images."""
    if training is not None:
        if trained is None or not (trained.training or trained.held_out):
            raise DatasetError(f"{printable(training)} has no images of the domain {domain.name!r}: add some")
        return domain.held_out or domain.training, trained.training or trained.held_out
    if not domain.training:
        raise DatasetError(
            f"{printable(data)}: the domain {domain.name!r} has no training images, which translations are compared "
            "with: name the folder that has them with --train"
        )
    if not domain.held_out:
        progress(
            f"{printable(data)} has no held-out images of {domain.name}: its training images are translated instead, "
            "which makes the FID look better than it is"
        )
        return domain.training, domain.training
    return domain.held_out, domain.training


def _readable(paths: Sequence[Path], fail: Progress) -> dict[Path, str]:
    """The images that can be read, with a hash of each."""

    def read_and_hash(path: Path) -> str | ImageError:
        try:
            read_image(path)
            return hash_content(path)
        except ImageError as error:
            return error
        except OSError as error:
            return ImageError(f"{printable(path)} cannot be read ({error.strerror}): it is left out")

    readable = {}
    with open_pool(READERS) as pool:
        for path, outcome in zip(paths, map_ahead(pool, read_and_hash, paths, ahead=AHEAD), strict=True):
            if isinstance(outcome, ImageError):
                fail(str(outcome))
            else:
                readable[path] = outcome
    return readable


def _hashes(paths: Sequence[Path]) -> list[str]:
    """A hash of each file; a file that cannot be read gets none, and is reported when its turn comes."""

    def hash_or_empty(path: Path) -> str:
        try:
            return hash_content(path)
        except OSError:
            return ""

    with open_pool(READERS) as pool:
        return list(map_ahead(pool, hash_or_empty, paths, ahead=AHEAD))
