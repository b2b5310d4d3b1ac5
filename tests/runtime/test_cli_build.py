from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tensorrt_bundle import GRAPH, with_tensorrt_graph

from starcast.cli import VERBS, root
from starcast.runtime.nvidia.tensorrt import engine_cache

BLOCKED = ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "openvino", "ncnn")


@pytest.fixture
def bundle(tmp_path, tiny_bundle) -> Path:
    return with_tensorrt_graph(tiny_bundle, tmp_path / "B")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty cache of this test's own, for this process and its children."""
    if sys.platform != "linux":
        pytest.skip("the variable that moves the cache is Linux's")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return engine_cache.place()


@pytest.fixture
def starcast(tmp_path, place) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line on a machine that has TensorRT for RTX and no other engine, no torch and no onnx."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in BLOCKED:
        (blocked / f"{name}.py").write_text(f"raise ModuleNotFoundError('blocked', name={name!r})")

    def run(*arguments: object, without: tuple[str, ...] = (), **settings: object) -> subprocess.CompletedProcess[str]:
        for name in without:
            (blocked / f"{name}.py").write_text(f"raise ModuleNotFoundError('blocked', name={name!r})")
        command = [sys.executable, "-m", "starcast", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(blocked)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, **settings)

    return run


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(root, [*map(str, arguments)], standalone_mode=False)


def test_the_help_is_quick_and_imports_no_engine():
    code = """
import sys
from starcast.cli import main
try:
    main(["build", "--help"])
except SystemExit as leaving:
    assert leaving.code == 0
heavy = {"torch", "onnx", "tensorrt", "tensorrt_rtx", "tqdm", "filelock", "cv2"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in ("--backend", "--precision", "--batch-range", "--size-range", "--gpu", "--form", "sm120"):
        assert option in result.stdout


@pytest.mark.parametrize("verb", ["build", "engines"])
def test_the_verbs_are_in_the_table(verb):
    assert VERBS[verb][0].startswith("starcast.runtime.nvidia.tensorrt.cli:")


def test_a_machine_with_tensorrt_for_rtx_alone_builds_lists_keeps_and_removes(bundle, starcast, place):
    pytest.importorskip("tensorrt_rtx")
    built = starcast("build", bundle, "--gpu", "sm86,sm89", timeout=120)
    assert built.returncode == 0, built.stderr
    assert "6 engines built, 0 there already" in built.stdout
    assert f"{GRAPH} for sm86: " in built.stderr
    listed = starcast("engines", "list")
    assert listed.returncode == 0
    rows = listed.stdout.splitlines()[2:]
    assert len(rows) == 6
    assert all("tensorrt-rtx 1." in row and "there is no NVIDIA GPU here" in row for row in rows)
    again = starcast("build", bundle, "--gpu", "sm89")
    assert "0 engines built, 3 there already" in again.stdout
    assert again.stderr.count("is there already") == 3
    removed = starcast("engines", "remove", rows[0].split()[0])
    assert removed.stdout.startswith("1 engine removed (")
    assert starcast("engines", "remove", "--bundle", bundle).stdout.startswith("5 engines removed (")
    assert not list(place.glob("*.engine"))


def test_an_engine_that_cannot_be_built_is_one_line_and_status_1(bundle, starcast, place, rewrite_manifest):
    pytest.importorskip("tensorrt_rtx")
    (bundle / "mapping.onnx").write_bytes(b"garbage" * 10)
    rewrite_manifest(bundle)
    result = starcast("build", bundle, "--gpu", "sm89")
    assert result.returncode == 1
    assert "2 engines built, 0 there already, 1 failed" in result.stdout
    [line] = [line for line in result.stderr.splitlines() if "cannot build" in line]
    assert "mapping.onnx for sm89 (it does not take the graph: " in line
    assert "Failed to parse the ONNX model" in line
    assert len(list(place.glob("*.engine"))) == 2


def _one_sentence(result: subprocess.CompletedProcess[str], *causes: str) -> None:
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    assert "\n" not in result.stderr.strip().removeprefix("Usage")
    for cause in causes:
        assert cause in result.stderr


@pytest.mark.parametrize(("arguments", "causes"), [
    (("BUNDLE",), ("no NVIDIA GPU to build for", "--gpu sm86,sm89")),
    (("BUNDLE", "--gpu", "sm90"), ("'sm90'", "sm75, sm80, sm86, sm89, sm120, sm121")),
    (("BUNDLE", "--gpu", "sm89,sm86", "--precision", "fp8"), ("sm86 has no fp8", "sm89")),
    (("BUNDLE", "--gpu", "sm75", "--precision", "bf16"), ("sm75 has no bf16",)),
    (("BUNDLE", "--gpu", "sm89", "--precision", "fp8"), ("export CHECKPOINT", "--for tensorrt --precisions fp8")),
    (("BUNDLE", "--gpu", "sm89", "--precision", "bf16"), ("export CHECKPOINT", "--for tensorrt --precisions bf16")),
    (("BUNDLE", "--gpu", "sm89", "--batch-range", "8:1"), ("--batch-range is '8:1'",)),
    (("BUNDLE", "--gpu", "sm89", "--batch-range", "8:4:1"), ("smallest first",)),
    (("BUNDLE", "--gpu", "sm89", "--size-range", "33x32"), ("multiples of 4 only: give 36 in place of 33",)),
    (("BUNDLE", "--gpu", "sm89", "--size-range", "big"), ("WIDTHxHEIGHT",)),
    (("BUNDLE", "--gpu", "sm89", "--backend", "tensorrt"), ("--gpu is for TensorRT for RTX",)),
    (("missing", "--gpu", "sm89"), ("is not a bundle",)),
    (("BUNDLE", "--backend", "tensorrt"), ("pip install 'starcast[tensorrt]'",)),
])  # fmt: skip
def test_what_cannot_be_is_one_sentence_and_status_2_before_anything_is_built(
    bundle, starcast, place, arguments, causes
):
    pytest.importorskip("tensorrt_rtx")
    result = starcast("build", *(bundle if part == "BUNDLE" else part for part in arguments))
    _one_sentence(result, *causes)
    assert not place.exists()


def test_a_machine_without_any_tensorrt_is_told_both_lines(bundle, starcast):
    result = starcast("build", bundle, "--gpu", "sm89", without=("tensorrt", "tensorrt_rtx"))
    _one_sentence(result, "pip install 'starcast[tensorrt-rtx]'")
    result = starcast("build", bundle, without=("tensorrt", "tensorrt_rtx"))
    _one_sentence(result, "pip install 'starcast[tensorrt-rtx]'", "pip install 'starcast[tensorrt]'")


@pytest.mark.parametrize("arguments", [("build", "BUNDLE", "--precision", "fp64"),
                                       ("build", "BUNDLE", "--backend", "x"), ("build",)])  # fmt: skip
def test_unknown_words_are_status_2(bundle, starcast, arguments):
    result = starcast(*(bundle if part == "BUNDLE" else part for part in arguments))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_an_empty_cache_is_listed_and_pruned_without_fault(place):
    result = _invoke("engines", "list")
    assert "no engines in" in result.stdout
    assert _invoke("engines", "prune").stdout.startswith("0 engines removed")
    assert _invoke("engines", "prune", "--all").stdout.startswith("0 engines removed")


@pytest.mark.parametrize(("arguments", "cause"), [
    (("remove",), "give keys of engines"),
    (("remove", "abc"), "no engine's key begins with 'abc'"),
    (("remove", "--bundle", "nowhere"), "no engine was built from nowhere"),
    (("remove", "abc", "--bundle", "nowhere"), "or --bundle"),
])  # fmt: skip
def test_what_cannot_be_removed_is_one_sentence(starcast, arguments, cause):
    _one_sentence(starcast("engines", *arguments), cause)


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
def test_ctrl_c_ends_the_build_and_leaves_no_half_engine(tmp_path, bundle, starcast, place):
    """A terminal sends it to both processes."""
    pytest.importorskip("tensorrt_rtx")
    command = [sys.executable, "-m", "starcast", "build", str(bundle), "--gpu", "sm80,sm86,sm89,sm120,sm121"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )  # fmt: skip
    while process.poll() is None and not list(place.glob("*.engine")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().endswith("Stopped.")
    assert "Traceback" not in error
    assert engine_cache.strays() == ()
    assert len(engine_cache.entries()) < 15
