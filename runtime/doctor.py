"""What can run on this machine: engines, extras, CPU and GPUs, and the lines that install what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import dataclass

from tabulate import tabulate

from starcast import __version__
from starcast.errors import EngineError
from starcast.runtime.engines import cache, verdicts
from starcast.runtime.engines.base import Absence, Engine
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.machine import Processor, gpus, processor
from starcast.runtime.nvidia.tensorrt import engine_cache

# y = x + x on float32 [2], as ONNX (IR 8, opset 17): small enough to try every device with
PROBE = (
    b'\x08\x08:;\n\x10\n\x01x\n\x01x\x12\x01y"\x03Add:\x00\x12\x05probeZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02'
    b"\x08\x02b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x02B\x04\n\x00\x10\x11"
)
EXTRAS = {
    "train": "starcast train, plot, dataset",
    "export": "starcast export, inspect of checkpoints",
    "benchmark": "starcast demo, bench",
    "faces": "finding faces for starcast align, translate --align, video --align",
    "heif": "HEIC photographs, wherever images are read",
}


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """An engine: its version, the devices that opened the probe, and those that did not (device, reason)."""

    name: str
    version: str | None
    devices: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    absent: Absence | None = None
    install: str


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An extra of the package, and the distributions that are missing for it."""

    name: str
    purpose: str
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that `starcast doctor` shows."""

    engines: tuple[EngineStatus, ...]
    extras: tuple[Extra, ...]
    processor: Processor
    gpus: tuple[str, ...]
    warnings: tuple[str, ...]
    measured: int = 0  # models that `--backend auto` has measured
    built: str = "0"  # TensorRT engines in the cache, or why they are not used


def examine() -> Diagnosis:
    """Examine this machine: import every installed engine, and try each of its devices."""
    engines = tuple(_engine(engine) for engine in ENGINES.values())
    extras = tuple(
        Extra(name=name, purpose=purpose, missing=missing_for(name, _requirements()))
        for name, purpose in EXTRAS.items()
    )
    providers = importlib.metadata.packages_distributions().get("onnxruntime", ())
    return Diagnosis(
        engines=engines,
        extras=extras,
        processor=processor(),
        gpus=gpus(),
        measured=verdicts.count(),
        built=_built(),
        warnings=(
            *_engine_warnings(engines),
            *onnxruntime_warnings(set(providers)),
        ),
    )


def render_text(diagnosis: Diagnosis) -> str:
    """The diagnosis as text for a person."""
    system = [["starcast", __version__], ["Python", platform.python_version()], ["system", platform.platform()]]
    engines = [[engine.name, engine.version or "absent", _engine_words(engine)] for engine in diagnosis.engines]
    extras = [[extra.name, "absent" if extra.missing else "here", _extra_words(extra)] for extra in diagnosis.extras]
    gpu_rows = [["GPU", gpu] for gpu in diagnosis.gpus or ("none",)]
    sections = (
        ("This machine", system + _processor_rows(diagnosis.processor) + gpu_rows),
        ("Engines (translate, generate, video, morph)", engines),
        ("Extras", extras),
        ("Compiled graphs", [["cache", str(cache.user_cache())]]),
        ("TensorRT engines", [["cache", str(engine_cache.place())], ["engines", diagnosis.built]]),
        ("What `--backend auto` measured", [["cache", str(verdicts.folder())], ["models", str(diagnosis.measured)]]),
    )
    blocks = [f"{title}\n{_table(rows)}" for title, rows in sections]
    return "\n\n".join([*blocks, *(f"Warning: {warning}" for warning in diagnosis.warnings)])


def missing_for(extra: str, requirements: list[str]) -> tuple[str, ...]:
    """The distributions of an extra that are not installed, as the package's metadata names them."""
    missing = []
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and re.search(rf"extra == ['\"]{extra}['\"]", requirement) and _version(name[0]) is None:
            missing.append(name[0])
    return tuple(missing)


def onnxruntime_warnings(distributions: set[str]) -> list[str]:
    """A warning if several installed distributions share the folder `onnxruntime`; otherwise empty."""
    if len(distributions) < 2:
        return []
    names = sorted(distributions)
    return [
        f"{' and '.join(names)} are installed together and overwrite each other's files: "
        f"pip uninstall -y {' '.join(names)}, then install one of starcast[cpu] and starcast[gpu]"
    ]


def _engine(engine: Engine) -> EngineStatus:
    install = engine.install_line
    absence = engine.absent()
    if absence is not None:
        return EngineStatus(name=engine.name, version=None, absent=absence, install=install)
    try:
        tried = engine.devices(PROBE)
    except EngineError as error:
        tried = {"the GPU": str(error)}
    return EngineStatus(
        name=engine.name,
        version=engine.version(),
        devices=tuple(device for device, reason in tried.items() if reason is None),
        refused=tuple((device, reason) for device, reason in tried.items() if reason is not None),
        install=install,
    )


def _engine_warnings(engines: tuple[EngineStatus, ...]) -> list[str]:
    if any(engine.devices for engine in engines):
        return []
    lines = dict.fromkeys(engine.install for engine in engines)
    return [f"no engine can translate here: {' or '.join(lines)}"]


def _built() -> str:
    try:
        return str(len(engine_cache.entries()))
    except EngineError as error:
        return str(error)


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("starcast") or []
    except importlib.metadata.PackageNotFoundError:  # a folder on the path, not an installation
        return []


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine_words(engine: EngineStatus) -> str:
    if engine.absent is not None:
        return f"{engine.absent.reason}{engine.absent.remedy(engine.install)}"
    opened = f"opens a graph on {', '.join(engine.devices)}" if engine.devices else "opens a graph on no device"
    return "; ".join([opened, *(f"not on {device} ({reason})" for device, reason in engine.refused)])


def _extra_words(extra: Extra) -> str:
    if not extra.missing:
        return extra.purpose
    return f"{extra.purpose}; without {', '.join(extra.missing)}: pip install 'starcast[{extra.name}]'"


def _processor_rows(cpu: Processor) -> list[list[str]]:
    quota = "" if cpu.quota is None else f", container's quota {cpu.quota:g}"
    threads = "as many as the engine counts" if cpu.engine_threads is None else str(cpu.engine_threads)
    memory = "unknown" if cpu.memory is None else f"{cpu.memory / 2**30:.1f} GiB"
    return [
        ["CPU", cpu.name],
        ["instruction sets", ", ".join(cpu.instruction_sets) or "none that engines have kernels for"],
        ["cores", f"{cpu.cores}, of which this process may use {cpu.allowed}{quota}"],
        ["engine threads", threads],
        ["memory", memory],
    ]


def _table(rows: list[list[str]]) -> str:
    lines = tabulate(rows, tablefmt="plain", disable_numparse=True).splitlines()
    return "\n".join(f"  {line}".rstrip() for line in lines)
