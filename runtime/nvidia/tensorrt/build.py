"""`starcast build`: from a bundle to engines in the user's cache, each built once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from starcast.errors import EngineError
from starcast.runtime.bundle import open_bundle, sha256_of
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu
from starcast.runtime.nvidia.tensorrt import engine_cache
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.child_process import build_in_child
from starcast.runtime.nvidia.tensorrt.engine_cache import EngineFacts, EngineSpec
from starcast.runtime.nvidia.tensorrt.messages import Request
from starcast.runtime.nvidia.tensorrt.orders import Order, plan_orders
from starcast.runtime.nvidia.tensorrt.program import programs_of
from starcast.runtime.nvidia.tensorrt.targets import choose_targets
from starcast.runtime.progress import ProgressBar

_PERCENT = 100


@dataclass(frozen=True)
class BuildReport:
    """The engines, how many of them had to be built, where they are, and a sentence for each failed build."""

    engines: tuple[EngineFacts, ...]
    built: int
    folder: Path
    failed: tuple[str, ...] = ()

    def summary(self) -> str:
        """`3 engines built, 6 there already (271.0 MB in …).`"""
        megabytes = sum(facts.bytes for facts in self.engines) / 1e6
        noun = "engine" if self.built == 1 else "engines"
        there = len(self.engines) - self.built
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{self.built} {noun} built, {there} there already{failed} ({megabytes:.1f} MB in {self.folder})."


def build_engines(
    bundle: Path,
    options: BuildOptions,
    *,
    progress: Callable[[str], None],
    show_progress: bool = False,
    folder: Path | None = None,
) -> BuildReport:
    """Build the engines that the options ask for and the cache lacks. `folder`: the cache; None: the user's.

    An engine that cannot be built does not stop the others from being built: `progress` and the report get its
    reason. Raises OptionError, MissingExtraError, VariantMissingError and BundleError before anything is built.
    """
    opened = open_bundle(bundle)
    orders = plan_orders(opened, options, choose_targets(options, current_gpu(), why_no_gpu))
    engines, failed = [], []
    built = 0
    with ProgressBar(_PERCENT, "%", show=show_progress, progress=progress) as bar:
        share = _Share(bar, sum(order.weight for order in orders))
        for order in orders:
            try:
                facts, new = _get_engine(order, bar.print, share.of(order), folder)
            except EngineError as error:
                bar.print(str(error))
                failed.append(str(error))
            else:
                engines.append(facts)
                built += new
            share.finish(order)
    return BuildReport(tuple(engines), built, engine_cache.place(folder), tuple(failed))


def why_rebuild(wanted: EngineSpec, entries: Iterable[EngineFacts]) -> str | None:
    """Why the last engine of that graph for that generation no longer fits, as a clause; None where there was none, or
    where it was built for other sizes."""
    known = [
        facts for facts in entries
        if (facts.spec.bundle, facts.spec.role, facts.spec.flavour) == (wanted.bundle, wanted.role, wanted.flavour)
        and (wanted.target == facts.spec.target or facts.spec.gpu is not None)
    ]  # fmt: skip
    if not known:
        return None
    old = known[-1].spec
    if known[-1].key == wanted.key:
        return "its file is damaged or has gone"
    if old.graph != wanted.graph:
        return "the graph has changed"
    if old.version != wanted.version:
        return f"it was built by {old.flavour} {old.version}, but this is {wanted.version}"
    if (old.gpu, old.target) != (wanted.gpu, wanted.target):
        return f"it was built on {old.gpu}, this GPU is {wanted.gpu}"
    if old.driver != wanted.driver:
        return f"it was built with a driver for CUDA {old.driver}, but this one is for {wanted.driver}"
    if old.plugin != wanted.plugin:
        return "the AdaIN kernel inside has changed"
    return None  # built for other sizes or batches, which it still serves


def _get_engine(
    order: Order, progress: Callable[[str], None], advance: Callable[[float], None], folder: Path | None
) -> tuple[EngineFacts, bool]:
    """The engine, and whether it had to be built. Raises EngineError."""
    facts = _find_whole(order, progress, folder)
    if facts is None:
        with engine_cache.building(folder, lambda: progress("waiting for another build to end…")):
            facts = _find_whole(order, progress, folder)  # the other build may have made it
            if facts is None:
                return _build(order, progress, advance, folder), True
    return facts, False


def _find_whole(order: Order, progress: Callable[[str], None], folder: Path | None) -> EngineFacts | None:
    """The engine, if it is in the cache and undamaged."""
    key = order.spec.key
    for facts in engine_cache.entries(folder):
        if facts.key == key and engine_cache.damage(facts, folder) is None:
            engine_cache.add(facts, folder)  # now the most recently used
            progress(f"{order.name} is there already, built {facts.built[:10]}")
            return facts
    return None


def _build(
    order: Order, progress: Callable[[str], None], advance: Callable[[float], None], folder: Path | None
) -> EngineFacts:
    reason = why_rebuild(order.spec, engine_cache.entries(folder))
    if reason is not None:
        progress(f"{order.name} is built again: {reason}")
    with engine_cache.new_file(order.spec.key, folder) as file:
        seconds = _compile(order, file, advance, folder)
        kernels, megabytes = _figures(file.read_bytes(), order.spec)
        facts = EngineFacts(
            spec=order.spec, key=order.spec.key, file=f"{order.spec.key}{engine_cache.ENGINE}", sha256=sha256_of(file),
            bytes=file.stat().st_size, seconds=seconds, built=datetime.now(UTC).isoformat(timespec="seconds"),
            kernels=kernels, megabytes=megabytes,
        )  # fmt: skip
    engine_cache.add(facts, folder)
    progress(describe(order.name, facts))
    return facts


def _compile(order: Order, file: Path, advance: Callable[[float], None], folder: Path | None) -> float:
    ahead, spec = order.flavour.ahead_of_time, order.spec
    machine = hashlib.sha256(f"{spec.version} {spec.gpu} {spec.driver}".encode()).hexdigest()[:16]
    request = Request(
        flavour=spec.flavour, graph=str(order.graph), output=str(file), inputs=spec.inputs,
        target=spec.target if ahead else None, plugin=spec.plugin is not None,
        timings=None if ahead else str(engine_cache.place(folder) / f"{engine_cache.TIMINGS}{machine}"),
    )  # fmt: skip
    try:
        return build_in_child(request, advance)
    except EngineError as error:
        raise EngineError(
            f"{order.flavour.title} {spec.version} cannot build {order.graph} for {spec.target} ({error}): "
            "give another --precision or --form, or export the bundle again with this starcast"
        ) from error


def describe(name: str, facts: EngineFacts) -> str:
    """`generator/… for sm89: 4.2 s, 88.1 MB, 96 kernels, 349.4 MB of activations an image`."""
    figures = [f"{facts.seconds:.1f} s", f"{facts.bytes / 1e6:.1f} MB"]
    if facts.kernels is not None:
        figures.append(f"{facts.kernels} kernels")
    if facts.megabytes is not None:
        figures.append(f"{facts.megabytes:.1f} MB of activations an image")
    return f"{name}: {', '.join(figures)}"


def _figures(engine: bytes, spec: EngineSpec) -> tuple[int | None, float | None]:
    """An engine's number of kernels, and the MB of activations that they read and write per image; None if its file
    does not say, or if it makes no images and reads none."""
    try:
        [program] = programs_of(engine)
    except (EngineError, ValueError):  # another flavour's or release's engine, or one of several programs
        return None, None
    images = spec.inputs.get("image") or spec.inputs.get("style")  # without a source, each image has its style
    return len(program.kernels), program.megabytes(images[1][0]) if images else None


class _Share:
    """Progress over all engines. An engine's share is its graph's share of all bytes, which is about its share of the
    time."""

    def __init__(self, bar: ProgressBar, total: int) -> None:
        self._bar, self._total = bar, total
        self._before = 0  # bytes of the finished graphs
        self._shown = 0

    def of(self, order: Order) -> Callable[[float], None]:
        return lambda done: self._show(self._before + done * order.weight)

    def finish(self, order: Order) -> None:
        self._before += order.weight
        self._show(self._before)

    def _show(self, done: float) -> None:
        percent = int(_PERCENT * done / self._total)
        if percent > self._shown:
            self._bar.advance(percent - self._shown)
            self._shown = percent
