"""Sizes that a training file claims, checked against what it holds before anything of that size is allocated."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from starcast.errors import CheckpointError, printable

# torch compresses nothing, and weights hardly shrink: a file that claims so much more was made to fill the memory
MOST_GROWTH, ALWAYS_FINE = 20, 2**28
_DEPTH = 6  # of tables in tables: a full checkpoint has four


def check_claimed_size(path: Path) -> None:
    """Raise CheckpointError if a zip archive claims far more bytes than the file can hold. Other files pass."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        return  # torch's reader says what is wrong with it
    if claimed > max(ALWAYS_FINE, MOST_GROWTH * path.stat().st_size):
        raise CheckpointError(
            f"{printable(path)} claims to hold {claimed / 2**30:.1f} GiB in a file of "
            f"{path.stat().st_size / 2**20:.1f} MiB: give a checkpoint as torch.save writes it"
        )


def check_tensors(path: Path, content: object) -> None:
    """Raise CheckpointError if a tensor claims more numbers than are stored, or all together more than the file."""
    storages: dict[int, int] = {}
    for name, value in _tensors(content, (), _DEPTH):
        if value.is_meta or not value.is_floating_point() or value.is_sparse or value.is_quantized:
            continue  # refused where plain weights are expected
        storage = value.untyped_storage()
        storages[storage.data_ptr()] = max(storages.get(storage.data_ptr(), 0), storage.nbytes())
        if value.numel() * value.element_size() > storage.nbytes():
            raise CheckpointError(
                f"{printable(path)} claims {tuple(value.shape)} numbers for {'.'.join(name)}, but stores fewer: give a "
                "plain checkpoint"
            )
    if sum(storages.values()) > max(ALWAYS_FINE, MOST_GROWTH * path.stat().st_size):
        raise CheckpointError(f"{printable(path)} claims more numbers than the file can hold: give another checkpoint")


def too_large(content: object, depth: int = _DEPTH) -> bool:
    """Whether a whole number in tables and lists has more bits than any count: Python cannot even show large ones."""
    if isinstance(content, int):
        return not -(2**63) <= content < 2**63
    if isinstance(content, Mapping):
        content = list(content.values())
    return bool(depth) and isinstance(content, list | tuple) and any(too_large(part, depth - 1) for part in content)


def _tensors(content: object, name: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif depth and isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, (*name, str(key)), depth - 1)
    elif depth and isinstance(content, Sequence) and not isinstance(content, str | bytes):
        for number, value in enumerate(content):
            yield from _tensors(value, (*name, str(number)), depth - 1)
