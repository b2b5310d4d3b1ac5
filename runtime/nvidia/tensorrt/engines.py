"""`starcast engines`: list and remove the engines in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from starcast.errors import OptionError
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.first_gpu import current_gpu
from starcast.runtime.nvidia.tensorrt import engine_cache
from starcast.runtime.nvidia.tensorrt.engine_cache import EngineFacts, EngineSpec
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.nvidia.tensorrt.profiles import Profile, Shape

SHORT = 12  # digits of a key in the table; any prefix that is unique will do


def table(folder: Path | None = None) -> str:
    """A table of all engines, the most recently used last. Imports every installed TensorRT."""
    held = engine_cache.entries(folder)
    if not held:
        return f"no engines in {engine_cache.place(folder)}: `starcast build BUNDLE` makes some"
    versions, gpu = _versions(), current_gpu()
    heads = ["key", "bundle", "graph", "precision", "for", "size", "batch", "built by", "MB", "built", "fits here"]
    rows = [
        [
            facts.key[:SHORT], *_row(facts.spec), f"{facts.bytes / 1e6:.1f}", facts.built[:10],
            _fit(facts, versions, gpu, folder),
        ]
        for facts in held
    ]  # fmt: skip
    return tabulate(rows, headers=heads, tablefmt="simple", disable_numparse=True)


def remove(keys: Sequence[str], bundle: str | None = None, folder: Path | None = None) -> str:
    """Remove engines by prefixes of their keys, or all of a bundle's by its name or path. Returns a sentence about what
    was removed. Raises OptionError if there is no such engine."""
    held = engine_cache.entries(folder)
    if (bundle is None) == (not keys):
        raise OptionError("give keys of engines, as `starcast engines list` shows them, or --bundle")
    if bundle is not None:
        path = str(Path(bundle).resolve())
        unwanted = [facts.key for facts in held if bundle == Path(facts.spec.bundle).name or path == facts.spec.bundle]
        if not unwanted:
            raise OptionError(f"no engine was built from {bundle}: `starcast engines list` shows what there is")
    else:
        unwanted = [_find_key(key, held) for key in keys]
    return _summary(engine_cache.remove(unwanted, folder))


def prune(everything: bool = False, folder: Path | None = None) -> str:
    """Remove engines that are damaged, or no longer fit this machine's TensorRTs and driver; with `everything`, all.

    Engines for other GPUs stay: they may be meant for another machine. Returns a sentence about what was removed.
    """
    versions, gpu = _versions(), current_gpu()
    unwanted = [
        facts.key for facts in engine_cache.entries(folder) if everything or _useless(facts, versions, gpu, folder)
    ]
    gone = engine_cache.remove(unwanted, folder)
    try:
        with engine_cache.building(folder):
            for path in engine_cache.strays(folder):
                path.unlink(missing_ok=True)
    except TimeoutError:
        pass  # a build is running: files outside the index may belong to it
    return _summary(gone)


def _useless(facts: EngineFacts, versions: dict[str, str | None], gpu: Gpu | None, folder: Path | None) -> bool:
    """Whether the engine will never run here again. Unknown, so false, for an undamaged one of a flavour that is not
    installed."""
    version = versions.get(facts.spec.flavour)
    outdated = version is not None and version != facts.spec.version
    same_gpu = gpu is not None and facts.spec.gpu == gpu.name
    other_driver = same_gpu and gpu is not None and facts.spec.driver not in (None, gpu.driver)
    return outdated or other_driver or engine_cache.damage(facts, folder) is not None


def _versions() -> dict[str, str | None]:
    """The release of each flavour; None for one that cannot be used here."""
    return {name: flavour.version() if flavour.absent() is None else None for name, flavour in FLAVOURS.items()}


def _find_key(key: str, held: Sequence[EngineFacts]) -> str:
    found = [facts.key for facts in held if key and facts.key.startswith(key.lower())]
    if len(found) == 1:
        return found[0]
    what = "the keys of several engines begin" if found else "no engine's key begins"
    raise OptionError(f"{what} with {key!r}: `starcast engines list` shows them")


def _summary(gone: Sequence[EngineFacts]) -> str:
    noun = "engine" if len(gone) == 1 else "engines"
    return f"{len(gone)} {noun} removed ({sum(facts.bytes for facts in gone) / 1e6:.1f} MB)."


def _fit(facts: EngineFacts, versions: dict[str, str | None], gpu: Gpu | None, folder: Path | None) -> str:
    # damage last: it reads the whole file
    return facts.spec.misfit(versions.get(facts.spec.flavour), gpu) or engine_cache.damage(facts, folder) or "yes"


def _row(spec: EngineSpec) -> list[str]:
    """The cells from bundle to builder. Size and batch are one value, or the smallest, usual and largest."""
    [first, *_] = spec.inputs.values()
    size = _each(first, lambda shape: f"{shape[2]}x{shape[1]}") if len(first[0]) == 4 else ""
    gpu = spec.target if spec.gpu is None else f"{spec.gpu} ({spec.target})"
    return [
        Path(spec.bundle).name, spec.role, spec.precision, gpu, size, _each(first, lambda shape: str(shape[0])),
        f"{spec.flavour} {spec.version}",
    ]  # fmt: skip


def _each(profile: Profile, words: Callable[[Shape], str]) -> str:
    said = [words(shape) for shape in profile]
    return said[0] if len(set(said)) == 1 else ":".join(said)
