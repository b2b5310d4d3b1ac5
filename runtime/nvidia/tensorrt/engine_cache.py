"""The cache of engines on the user's disk. An engine is executable code, so we load only what was built here.

Engines are in a folder that only the user may enter. An index lists each with the hash of its bytes. Only engines in
the index are loaded, from exactly the bytes that were hashed. Engines in a bundle, or anywhere else, are never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath, PureWindowsPath

import msgspec

from starcast.atomic import atomic_path
from starcast.errors import EngineError, OptionError
from starcast.hold import hold_without_sweep
from starcast.runtime.engines import cache
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt.profiles import Profile

INDEX = "index.json"
ENGINE = ".engine"  # suffix; the file name is the key
KERNELS = ".kernels"  # added to an engine's file name: kernels that TensorRT for RTX compiled for this GPU
TIMINGS = "timings-"  # kernel timings of TensorRT proper, one file per release and GPU
FORMAT = 2  # of the index; engines in an index of another format are built again
PAUSE_S = 0.2  # between two looks whether another process has ended its build
PATIENCE_S = 60  # the index is held for milliseconds
LAYOUT = 1  # version of engines: raise it when the same specification no longer builds the same engine


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is built from and for. Orders and built engines each have one.

    bundle: the path of the folder. role: the graph's name in it. graph: the digest of the graph and its weights.
    flavour, version: the TensorRT that builds it. target: the GPU generation. gpu, driver: where kernels are timed;
    None if built ahead of time. plugin: a hash of the kernel inside, if any.
    """

    bundle: str
    role: str
    graph: str
    precision: str
    inputs: dict[str, Profile]
    flavour: str
    version: str
    target: str
    gpu: str | None = None
    driver: str | None = None
    plugin: str | None = None

    @property
    def key(self) -> str:
        """A hash of everything that decides what the engine is and where it runs: 64 hexadecimal digits."""
        facts = msgspec.structs.asdict(self)
        for place in ("bundle", "role"):  # where the graph was found makes no difference
            del facts[place]
        return hashlib.sha256(msgspec.json.encode({"layout": LAYOUT, **facts}, order="deterministic")).hexdigest()

    def misfit(self, version: str | None, gpu: Gpu | None) -> str | None:
        """Why the engine cannot run with this release on this GPU, as a clause; None if it can."""
        if version is None:
            return f"{self.flavour} is not installed"
        if version != self.version:
            return f"it was built by {self.flavour} {self.version}, but this is {version}"
        if gpu is None:
            return "there is no NVIDIA GPU here"
        if gpu.sm != self.target:
            return f"it was built for {self.target}, this GPU is {gpu.sm}"
        if self.gpu not in (None, gpu.name):
            return f"it was built on {self.gpu}, this GPU is {gpu.name}"
        if self.driver not in (None, gpu.driver):
            return f"it was built with a driver for CUDA {self.driver}, but this one is for {gpu.driver}"
        return None


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's entry in the index.

    key: the specification's. kernels, megabytes: the number of kernels, and MB of activations per image; None where the
    engine's file does not say.
    """

    spec: EngineSpec
    key: str
    file: str
    sha256: str
    bytes: int
    seconds: float
    built: str
    kernels: int | None = None
    megabytes: float | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """index.json. The most recently used engine is the last."""

    format: int = FORMAT
    engines: tuple[EngineFacts, ...] = ()


def place(folder: Path | None = None) -> Path:
    """The folder of engines: in the given cache, or beside the user's compiled graphs."""
    try:
        return cache.user_cache().with_name("engines") if folder is None else folder / "engines"
    except RuntimeError as error:
        raise EngineError(
            f"there is no folder to store engines in ({error}): set XDG_CACHE_HOME to a folder"
        ) from error


def entries(folder: Path | None = None) -> tuple[EngineFacts, ...]:
    """Every engine in the index, the most recently used last. A damaged index, or one of another format, counts as
    empty: its engines can be built again."""
    where = place(folder)
    if not where.is_dir():
        return ()
    index = cache.read_json(_private(where) / INDEX, Index)
    whole = index is not None and index.format == FORMAT and all(_is_bare(facts.file) for facts in index.engines)
    return index.engines if index is not None and whole else ()


def find(graph: str, flavour: str, version: str, gpu: Gpu | None, folder: Path | None = None) -> EngineFacts | None:
    """The most recently used engine of a graph that fits this machine, or None. Raises EngineError if other users can
    write to the cache."""
    for facts in reversed(entries(folder)):
        if (facts.spec.graph, facts.spec.flavour) != (graph, flavour) or facts.spec.misfit(version, gpu) is not None:
            continue
        if _file(place(folder), facts).is_file():
            return facts
    return None


def why_missing(graph: str, flavour: str, version: str, gpu: Gpu | None, folder: Path | None = None) -> str:
    """Why `find` returns None, as a clause."""
    reason = "none was built for it"
    for facts in entries(folder):
        if (facts.spec.graph, facts.spec.flavour) == (graph, flavour):
            reason = facts.spec.misfit(version, gpu) or "its file is missing"
    return reason


def load(facts: EngineFacts, folder: Path | None = None) -> bytes:
    """The bytes of an engine, after checking them against the hash in the index. Raises EngineError."""
    file = _file(_private(place(folder)), facts)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file} cannot be read ({error.strerror}): build it again with `starcast build`") from error
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise EngineError(f"{file} has changed since it was built: build it again with `starcast build`")
    return content


def damage(facts: EngineFacts, folder: Path | None = None) -> str | None:
    """What is wrong with an engine's file, as a clause, or None."""
    if not _file(place(folder), facts).is_file():
        return "its file is missing"
    try:
        load(facts, folder)
    except EngineError:
        return "its file is damaged"
    return None


@contextmanager
def new_file(key: str, folder: Path | None = None) -> Iterator[Path]:
    """A path to write an engine to. The file enters the cache when the block ends without an error; then call `add`."""
    file = _private(place(folder)) / f"{key}{ENGINE}"
    cache.clear(file)
    with atomic_path(file) as partial:
        yield partial


def add(facts: EngineFacts, folder: Path | None = None) -> None:
    """Put an engine into the index as the most recently used, even if it is listed already."""
    with _index_lock(folder):
        others = tuple(other for other in entries(folder) if other.key != facts.key)
        _write(folder, (*others, facts))


def remove(keys: Iterable[str], folder: Path | None = None) -> tuple[EngineFacts, ...]:
    """Remove engines from the index and the disk. Returns those that existed."""
    unwanted = set(keys)
    with _index_lock(folder):
        held = entries(folder)
        gone = tuple(facts for facts in held if facts.key in unwanted)
        if gone:
            _write(folder, [facts for facts in held if facts.key not in unwanted])
        for facts in gone:  # after the index, which must not name missing files
            for file in (_file(place(folder), facts), _file(place(folder), facts, KERNELS)):
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
    return gone


def load_kernels(file: Path) -> bytes | None:
    """The kernels that an earlier start compiled for an engine; None if missing or damaged. Only the user can write
    there."""
    return cache.read_sealed(file)


def save_kernels(file: Path, kernels: bytes | None) -> None:
    """Store the kernels atomically, if they have changed. A full disk costs time at the next start, not this one."""
    if kernels and kernels != cache.read_sealed(file):
        with contextlib.suppress(OSError):
            cache.write_sealed(file, kernels)


def strays(folder: Path | None = None) -> tuple[Path, ...]:
    """Files that are not in the index: left by killed builds, or by a lost index. Call it only while no build runs."""
    where = place(folder)
    if not where.is_dir():
        return ()
    named = {name for facts in entries(folder) for name in (facts.file, f"{facts.file}{KERNELS}")}
    return tuple(
        path for path in sorted(where.iterdir()) if path.suffix in (ENGINE, KERNELS) and path.name not in named
    )


@contextmanager
def building(folder: Path | None = None, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Allow one build at a time on this machine: two would distort each other's timings, or build an engine twice.

    `waiting` is called before waiting for another build to end; without it, TimeoutError is raised instead.
    """
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_without_sweep(_private(place(folder)) / "build", nests=False))
                break
            except OptionError as error:  # another process builds
                if waiting is None:
                    raise TimeoutError(str(error)) from error
                waiting()
                waiting = _say_nothing
                time.sleep(PAUSE_S)
        yield


def _say_nothing() -> None:
    """What waiting says after the first time."""


@contextmanager
def _index_lock(folder: Path | None) -> Iterator[None]:
    """One writer of the index at a time. Raises EngineError if another process has it for too long."""
    with ExitStack() as stack:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                stack.enter_context(hold_without_sweep(_private(place(folder)) / INDEX))
                break
            except OptionError as error:
                if time.monotonic() > until:
                    raise EngineError(str(error)) from error
                time.sleep(PAUSE_S)
        yield


def _write(folder: Path | None, engines: Iterable[EngineFacts]) -> None:
    content = msgspec.json.format(msgspec.json.encode(Index(engines=tuple(engines))), indent=1)
    cache.write(place(folder) / INDEX, content)


def _file(where: Path, facts: EngineFacts, behind: str = "") -> Path:
    if not _is_bare(facts.file):
        raise EngineError(f"the engine {facts.file!r} is not in {where}: build it again with `starcast build`")
    return where / f"{facts.file}{behind}"


def _is_bare(name: str) -> bool:
    """Whether it is a bare engine file name, which cannot lead out of the folder."""
    return name.endswith(ENGINE) and PurePath(name).name == name and PureWindowsPath(name).name == name


def _private(where: Path) -> Path:
    """The folder, created if missing, closed to others. Raises EngineError if others could put engines there."""
    try:
        if cache.private(where) is None:
            raise EngineError(f"{where} can be written to by others, so its engines are not trusted: remove it")
        if where.stat().st_mode & 0o077:
            where.chmod(0o700)
    except OSError as error:
        raise EngineError(f"{where} cannot be used for engines ({error.strerror}): set XDG_CACHE_HOME") from error
    return where
