"""Memory for networks: how much they need is compared with what there is before any is allocated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from starcast.errors import OptionError


def allocate(*modules: nn.Module | None) -> None:
    """Give modules that were made on the meta device memory on the CPU, uninitialised and in place.

    Raises OptionError if the machine has less memory than they need together.
    """
    made = [module for module in modules if module is not None]
    tensors = [tensor for module in made for tensor in (*module.parameters(), *module.buffers())]
    needed, there = sum(tensor.numel() * tensor.element_size() for tensor in tensors), physical_memory()
    if there is not None and needed > there:
        raise OptionError(
            f"networks of these sizes need {needed / 2**30:.1f} GiB of memory, but this machine has "
            f"{there / 2**30:.1f} GiB: give smaller sizes"
        )
    for module in made:
        module.to_empty(device="cpu")


def physical_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


@contextmanager
def explain_sizes() -> Iterator[None]:
    """Turn what torch raises in the block about sizes that cannot be into an OptionError."""
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
        if not isinstance(error, MemoryError) and not re.search("overflow|allocate memory|too large", str(error), re.I):
            raise
        raise OptionError(
            "there is not enough memory for networks of these sizes: give smaller sizes, or free some memory"
        ) from error
