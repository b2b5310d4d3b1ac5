"""The rooms import one way only, and the runtime needs neither torch nor onnx."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("train", "export", "runtime", "benchmarks")


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_the_import_contracts_hold(tmp_path: Path) -> None:
    # the linter reads one folder per package: lay the rooms inside starcast/, as the wheel does
    package = tmp_path / "starcast"
    ignored = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(REPOSITORY / "starcast", package, ignore=ignored)
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, package / room, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


RUNTIME_MODULES = sorted(
    "starcast." + ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "runtime").rglob("*.py")
    if path.name != "__init__.py"
)


def test_every_runtime_module_is_imported_where_torch_and_onnx_cannot_be() -> None:
    script = f"""
import importlib, sys
for name in ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript"):
    sys.modules[name] = None
for module in {RUNTIME_MODULES!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_type_checker_sees_every_module() -> None:
    modules = {
        path.name
        for path in (REPOSITORY / "starcast").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {path.name for path in (REPOSITORY / ".typing" / "starcast").iterdir()} == modules | set(ROOMS)


def test_one_module_alone_imports_onnx_runtime() -> None:
    """Its import leaves an identifier and an event in the user's cache, unless a variable is set before."""
    importers = set()
    for room in (*ROOMS, "starcast"):
        for path in (REPOSITORY / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    names += [str(node.args[0].value)] if called in ("import_module", "__import__") else []
                if any(name.partition(".")[0] == "onnxruntime" for name in names):
                    importers.add(path.relative_to(REPOSITORY).as_posix())
    assert importers == {"runtime/engines/onnxruntime.py"}


@pytest.mark.skipif(sys.platform == "win32", reason="the cache of this test is named by XDG_CACHE_HOME")
@pytest.mark.parametrize("code", [
    "from starcast.cli import main; main(['inspect', BUNDLE])",
    "from starcast.cli import main; main(['doctor'])",
    "from starcast.cli import main; main(['translate', BUNDLE, IMAGE, '-o', 'out.png', '--domain', '0', "
    "'--backend', 'onnxruntime'])",
    "from starcast.cli import main; main(['translate', BUNDLE, IMAGE, '-o', 'out.png', '--domain', '0'])",
    "from starcast.runtime import Translator; Translator(BUNDLE, backend='onnxruntime').style(domain=0, seed=1)",
    "import starcast.export.gate.candidates",
    "import starcast.benchmarks.bench.worker",
], ids=["inspect", "doctor", "translate", "auto", "Translator", "export", "bench"])  # fmt: skip
def test_no_other_program_writes_into_the_users_folders(tmp_path: Path, tiny_bundle: Path, code: str) -> None:
    pytest.importorskip("onnxruntime")
    from PIL import Image

    image = tmp_path / "in.png"
    Image.new("RGB", (32, 32)).save(image)
    home = tmp_path / "home"
    home.mkdir()
    cache = {"XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "fonts")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | cache
    script = f"BUNDLE, IMAGE = {str(tiny_bundle)!r}, {str(image)!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    assert [file for file in files if not file.startswith("cache/starcast/")] == []


@pytest.mark.slow
def test_the_wheel_with_one_engine_alone_translates_a_picture(tmp_path: Path, tiny_bundle: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", wheels, REPOSITORY]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(wheels.glob("*.whl"))
    environment = tmp_path / "clean"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = python_of(environment)
    install = [python, "-m", "pip", "install", "--quiet", "-c", REPOSITORY / "constraints.txt", f"{wheel}[cpu]"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if "No matching distribution" in installed.stderr or "Connection" in installed.stderr:
        pytest.skip(f"the package index cannot be reached: {installed.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    script = f"""
import sys
from PIL import Image
from starcast.cli import main
Image.new("RGB", (40, 30), (200, 60, 30)).save("in.png")
for name in ("torch", "onnx"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{{name}} is installed in the clean environment")
main(["translate", {str(tiny_bundle)!r}, "in.png", "--domain", "cat", "-o", "out.png"])
"""
    done = subprocess.run([python, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").stat().st_size > 0
