"""TensorRT, and TensorRT for RTX, on the first NVIDIA GPU.

They run only engines that `starcast build` built from a bundle's graphs on this machine. Opening never builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starcast.command_line import command_line, path_argument
from starcast.errors import EngineError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Absence, Engine, EngineOptions, Graph, Session
from starcast.runtime.nvidia.first_gpu import current_gpu, has_driver_package, why_no_gpu
from starcast.runtime.nvidia.tensorrt.engine_cache import KERNELS, entries, find, load, load_kernels, place, why_missing
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.variants import Variant


class TensorRT(Engine):
    """Opens the engines that one flavour built: TensorRT proper."""

    name = "tensorrt"
    on_gpu = True

    def __init__(self) -> None:
        self._flavour = FLAVOURS[self.name]
        self.extra = self._flavour.extra

    def absent(self) -> Absence | None:
        absence = self._flavour.absent()
        if absence is not None:
            return absence
        gpu = current_gpu()
        if gpu is None:  # the missing package may be the one that queries the driver, which the extra installs
            return Absence(f"installed, but {why_no_gpu()}", pip_helps=not has_driver_package())
        targets = self._flavour.targets
        if targets and gpu.sm not in targets:
            reason = f"installed, but made for {', '.join(targets)}: this GPU is {gpu.sm} ({gpu.name})"
            return Absence(reason, pip_helps=False)
        too_new = gpu.lacks(self._flavour.cuda())
        if too_new is not None:
            return Absence(f"installed, but {too_new}, or pip install {self.name}-cu12", pip_helps=False)
        return None

    def why_not_ready(self, bundle: Bundle, variant: Variant, options: EngineOptions = EngineOptions()) -> str | None:
        try:
            found = self._unbuilt(bundle, variant, options)
        except EngineError as error:  # other users can write to the cache, so nothing in it is used
            return str(error)
        if found is None:
            return None
        sentence = self._sentence(*found, bundle.path, variant.precision)
        others = [one for one in bundle.manifest.variants if one.precision != variant.precision]
        for other in others:
            if self.why_unsupported(other) is None and self._unbuilt(bundle, other, options) is None:
                return f"{sentence}, and --precision {other.precision} uses one that is ready"
        return sentence

    def version(self) -> str:
        return self._flavour.version()

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        gpu = current_gpu()
        if gpu is None:
            return {}
        fits = any(
            facts.spec.flavour == self.name and facts.spec.misfit(self.version(), gpu) is None for facts in entries()
        )  # fmt: skip
        nothing = f"no engine has been built for it: `{build_line(Path('BUNDLE'), self.name)}`"
        return {gpu.name: None if fits else nothing}

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        self.note_use()
        from starcast.runtime.nvidia.first_gpu import open_driver
        from starcast.runtime.nvidia.tensorrt.execution import deserialise
        from starcast.runtime.nvidia.tensorrt.session import TensorRTSession

        digest = graph.digest or ""
        reason = self._missing(digest, options.cache)
        facts = find(digest, self.name, self.version(), current_gpu(), options.cache)
        if facts is None:
            then = reason or "its file is missing"
            raise EngineError(self._sentence(graph.path, then, graph.bundle, graph.precision))
        content = load(facts, options.cache)
        kernels = place(options.cache) / f"{facts.file}{KERNELS}"
        driver = open_driver()
        try:
            with driver.active():
                name = f"{Path(facts.spec.bundle).name}'s engine of {facts.spec.role}"
                execution = deserialise(self._flavour.load(), content, driver, name, load_kernels(kernels))
                try:
                    build = build_line(graph.bundle, self.name, graph.precision)
                    return TensorRTSession(name, build, execution, driver, kernels)
                except BaseException:
                    execution.close()
                    raise
        except BaseException:
            driver.close()
            raise

    def _unbuilt(self, bundle: Bundle, variant: Variant, options: EngineOptions) -> tuple[Path, str] | None:
        """The first graph of a variant without a usable engine, and why; None if every graph has one."""
        condition = bundle.manifest.condition
        parts = (condition.latent, condition.reference, condition.classifier)
        makers = [maker.graph for maker in parts if maker is not None]
        for graph in (variant.file, *makers):
            path, digest = bundle.graph(graph)
            reason = self._missing(digest, options.cache)
            if reason is not None:
                return path, reason
        return None

    def _missing(self, digest: str, cache: Path | None) -> str | None:
        """Why a graph has no usable engine, as a clause; None if it has one."""
        asked = (digest, self.name, self.version(), current_gpu(), cache)
        return why_missing(*asked) if find(*asked) is None else None

    def _sentence(self, graph: Path, reason: str, bundle: Path | None, precision: str) -> str:
        line = build_line(bundle, self.name, precision)
        return f"{graph} has no {self._flavour.title} engine for this machine ({reason}): `{line}` builds one"


class TensorRTforRTX(TensorRT):
    """Opens the engines that TensorRT for RTX built."""

    name = "tensorrt-rtx"


def build_line(bundle: Path | None, flavour: str, precision: str | None = None) -> str:
    """The command that builds an engine."""
    chosen = () if precision is None else ("--precision", precision)
    return command_line("starcast", "build", path_argument(bundle or "BUNDLE"), "--backend", flavour, *chosen)
