"""Where a figure comes from: CPU, versions, command and commit, recorded beside every result."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starcast.atomic import write_text
from starcast.runtime.machine import processor

ROOMS = ("starcast", "starcast.train", "starcast.export", "starcast.runtime", "starcast.benchmarks")
# git's names of what decides a figure: the rooms, new files among them, and the versions; not the records
CODE = (
    *(f":(top){room.rpartition('.')[2]}" for room in ROOMS), ":(top)pyproject.toml", ":(top)constraints.txt",
    ":(top,exclude)benchmarks/results",
)  # fmt: skip
PACKAGES = (
    "starcast", "torch", "triton", "tensorrt-rtx-cu13", "tensorrt-cu13", "cuda-bindings", "onnxruntime-gpu",
    "onnxruntime", "openvino", "ncnn", "nncf", "onnx", "numpy", "av",
)  # fmt: skip


def provenance(*, threads: int, program: str = "starcast") -> dict[str, Any]:
    """The machine, versions, command and commit behind a figure. `program` is the command without its arguments."""
    here = processor()
    return {
        "processor": here.name,
        "instruction_sets": list(here.instruction_sets),
        "cores": here.cores,
        "threads": threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: release for name in PACKAGES if (release := version_of(name))},
        "command": " ".join([program, shlex.join(sys.argv[1:])]).rstrip(),
        "commit": commit(),
        "sources": sources(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def sources() -> str:
    """A digest of starcast's code, which identifies it even if it differs from its commit or has none."""
    digest = hashlib.sha256()
    for room in ROOMS:
        spec = find_spec(room)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def commit(here: Path = Path(__file__).resolve().parent) -> str | None:
    """The commit of the checkout that a folder is in, with "+" if its code differs from it; None outside a checkout.

    Records do not count: a benchmark rewrites its own record after every round.
    """
    try:
        git = ["git", "-C", str(here)]
        name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", *CODE], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result as indented JSON, atomically."""
    write_text(path, json.dumps(result, indent=2) + "\n")


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
