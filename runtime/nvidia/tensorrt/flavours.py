"""The two TensorRT distributions, and how they differ; everything else is the same code.

TensorRT for RTX comes as plain wheels, builds for named generations of GPUs without having one, keeps what it compiled
for a GPU in a runtime cache, and has no plugins. TensorRT proper, 10 and 11, builds only for the GPU that is here, by
timing kernels on it, and has plugins. Both take strongly typed networks: the precision stands in the graph. 10 has to
be told so, 11 ignores the flag, and the builder flags for precisions are gone from 11, so that none of them is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starcast.errors import MissingExtraError
from starcast.runtime.engines.base import NOT_INSTALLED, Absence, one_line

_CUDA = (13, 12)  # versions that have packages
# the first generation whose cores take the type; all other precisions build everywhere
FIRST_WITH = {"bf16": "sm80", "fp8": "sm89"}


@dataclass(frozen=True)
class Flavour:
    """One distribution. `targets`: the generations that it builds for ahead of time; none: it builds only for the GPU
    that is here. `oldest`: the first release whose API this code knows."""

    name: str
    title: str
    module: str
    extra: str
    oldest: tuple[int, int]
    targets: tuple[str, ...] = ()

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds without a GPU. If not, it times kernels, takes plugins, and may store its timings."""
        return bool(self.targets)

    def absent(self) -> Absence | None:
        """Why it cannot build here, or None. Imports it if it is installed."""
        if importlib.util.find_spec(self.module) is None:
            return NOT_INSTALLED
        try:
            found = self.version()
        except (ImportError, OSError) as error:  # OSError: one of its libraries
            return Absence(f"installed, but does not load: {one_line(error)}", pip_helps=False)
        except AttributeError:  # what an uninstalled package leaves behind
            return Absence("installed, but does not load: it is an empty folder", pip_helps=True)
        if _release(found) < self.oldest:
            oldest = ".".join(map(str, self.oldest))
            reason = f"installed, but version {found} is too old: {oldest} or newer is needed"
            return Absence(reason, pip_helps=True)
        return None

    def load(self) -> Any:
        """Import its module. Raises MissingExtraError where it is not installed."""
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"{self.name} is not installed: {self.install_line}") from error

    def version(self) -> str:
        """Its release, as `1.7.1.116`."""
        return str(self.load().__version__)

    def cuda(self) -> int | None:
        """The major version of CUDA that its libraries are made for; None if no package's name says so."""
        for major in _CUDA:
            with suppress(importlib.metadata.PackageNotFoundError):
                importlib.metadata.version(f"{self.name}-cu{major}-libs")
                return major
        return None

    @property
    def install_line(self) -> str:
        """The command that installs it."""
        return f"pip install 'starcast[{self.extra}]'"


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("tensorrt", "TensorRT", "tensorrt", "tensorrt", (10, 12)),
        Flavour(
            "tensorrt-rtx", "TensorRT for RTX", "tensorrt_rtx", "tensorrt-rtx", (1, 6),
            ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121"),
        ),
    )
}  # fmt: skip


def error_log(trt: Any) -> Any:
    """A logger for the library `trt`. Errors go into its list `said`; everything below is dropped."""

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of the library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.said.append(message)

    return Log()


def too_old_for(precision: str, target: str) -> str | None:
    """Why GPUs of a generation cannot run a precision, as a clause, or None."""
    first = FIRST_WITH.get(precision)
    if first is None or _number(target) >= _number(first):
        return None
    return f"{target} has no {precision}, which starts with {first}"


def _number(target: str) -> int:
    return int(target.removeprefix("sm"))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
