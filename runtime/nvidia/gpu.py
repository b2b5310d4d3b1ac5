"""What is known of an NVIDIA GPU without a context on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU. `driver`: the newest CUDA that its driver knows, as `13.0`."""

    name: str
    compute_capability: tuple[int, int]
    driver: str

    @property
    def sm(self) -> str:
        """Its architecture as compilers name it: `sm89`."""
        major, minor = self.compute_capability
        return f"sm{major}{minor}"

    def lacks(self, cuda: int | None) -> str | None:
        """Why its driver runs nothing that was made for a CUDA of that major version, as a clause; None where it does,
        or where the version is unknown. Within a major version, older drivers run newer libraries."""
        if cuda is None or int(self.driver.partition(".")[0]) >= cuda:
            return None
        return f"made for CUDA {cuda}, and the NVIDIA driver knows {self.driver}: update the driver"
