"""The NVIDIA card that calculates: the first one that the driver shows (CUDA_VISIBLE_DEVICES chooses)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache as once

from starcast.errors import EngineError, MissingExtraError


@dataclass(frozen=True)
class Gpu:
    """A card, and the newest CUDA that its driver knows, as `13.0`."""

    name: str
    compute_capability: tuple[int, int]
    driver: str

    @property
    def sm(self) -> str:
        """Its architecture in the compilers' words: `sm89`."""
        major, minor = self.compute_capability
        return f"sm{major}{minor}"

    def lacks(self, cuda: int | None) -> str | None:
        """Why its driver starts nothing that was made for a CUDA of that major version, as a clause; None where it
        does, or where nobody knows the version. (Within one, older drivers run newer libraries.)"""
        if cuda is None or int(self.driver.partition(".")[0]) >= cuda:
            return None
        return f"made for CUDA {cuda}, and the NVIDIA driver knows {self.driver}: update the driver"


def current_gpu() -> Gpu | None:
    """The card, or None where there is no driver, no card, or no package that asks for it. Never raises."""
    found = _found()
    return found if isinstance(found, Gpu) else None


def why_no_gpu() -> str | None:
    """Why there is none, as a clause; None where there is one."""
    found = _found()
    return found if isinstance(found, str) else None


@once
def _found() -> Gpu | str:
    """Asked once: a driver that could not start does not start later in the same process."""
    from starcast.runtime.nvidia.driver import implementation

    try:
        return implementation().gpu()
    except (EngineError, MissingExtraError) as error:
        return str(error)
