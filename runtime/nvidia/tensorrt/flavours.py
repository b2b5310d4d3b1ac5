"""The two TensorRT distributions, and how they differ; everything else is the same code.

TensorRT for RTX comes as plain wheels, builds for named GPU generations without needing a GPU, stores what it compiles
for a GPU in a runtime cache, and has no plugins. TensorRT proper, 10 and 11, builds only for this machine's GPU, by
timing kernels on it, and has plugins. Both accept strongly typed networks, whose graph states every precision. 10 needs
a flag for that, which 11 ignores. 11 has no builder flags for precisions, so none are used.
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

_CUDA = (13, 12)  # major versions with a package
# the first generation whose cores support the type; all other precisions build everywhere
FIRST_WITH = {"bf16": "sm80", "fp8": "sm89"}


@dataclass(frozen=True)
class Flavour:
    """One distribution. `targets`: the generations that it builds for ahead of time; empty: it builds only for this
    machine's GPU. `oldest`: the first release whose API this code supports."""

    name: str
    title: str
    module: str
    extra: str
    oldest: tuple[int, int]
    targets: tuple[str, ...] = ()

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds without a GPU. If not, it times kernels, supports plugins, and may store its timings."""
        return bool(self.targets)

    def absent(self) -> Absence | None:
        """Why the distribution cannot be used here, or None. Imports it if it is installed."""
        if importlib.util.find_spec(self.module) is None:
            return NOT_INSTALLED
        try:
            found = self.version()
        except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
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
        """The CUDA major version that its libraries need; None if no package name says."""
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

        def first_error(self) -> str:
            """The first error since the last call: later ones follow from it. Skips the one that TensorRT for RTX adds
            where there is no driver."""
            errors = [line for line in self.said if "catchCudaError" not in line] or self.said or ["it gave no reason"]
            self.said = []
            return " ".join(str(errors[0]).split())

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
