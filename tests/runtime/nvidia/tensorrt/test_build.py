"""Builds as `starcast build` does them: with TensorRT for RTX itself, and with a recording in full TensorRT's place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest
import recorded_tensorrt
from tensorrt_bundle import GRAPH, with_tensorrt_graph, with_tensorrt_variant
from tiny_generator import FRAME_GRAPH

from starcast.runtime.bundle import open_bundle
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import build, engine_cache
from starcast.runtime.nvidia.tensorrt.build import BuildReport, build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions

CARD = Gpu("NVIDIA L4", (8, 9), "13.0")


@pytest.fixture
def bundle(tmp_path, tiny_bundle) -> Path:
    return with_tensorrt_graph(tiny_bundle, tmp_path / "B")


@pytest.fixture
def full(tmp_path, monkeypatch) -> None:
    """A machine with full TensorRT, which is the recording, and a GPU."""
    (tmp_path / "installed").mkdir()
    shutil.copy(recorded_tensorrt.__file__, tmp_path / "installed/tensorrt.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    monkeypatch.setitem(sys.modules, "tensorrt", recorded_tensorrt)
    monkeypatch.delenv("ATTEMPT", raising=False)
    _card(monkeypatch, CARD)


@pytest.fixture
def run(tmp_path, bundle) -> Callable[..., tuple[BuildReport, list[str]]]:
    """A function that builds, and gives the report and what was said."""

    def build_it(**options: object) -> tuple[BuildReport, list[str]]:
        said: list[str] = []
        report = build_engines(bundle, BuildOptions(**options), progress=said.append, folder=tmp_path / "cache")
        return report, said

    return build_it


@pytest.fixture(scope="module")
def first_build(tmp_path_factory) -> tuple[Path, list[Path]]:
    """A copy of the cache after a first build, and the bundle that it is of, once a test has made them."""
    return tmp_path_factory.mktemp("first") / "cache", []


@pytest.fixture
def built(tmp_path, full, bundle, run, first_build) -> BuildReport:
    """The report of a first build by full TensorRT, which is in the cache now: a build starts three processes."""
    cache, (copy, bundles) = tmp_path / "cache", first_build
    if not bundles:
        report, _ = run()
        shutil.copytree(cache, copy)
        bundles.append(bundle)
        return report
    shutil.copytree(copy, cache)
    index = engine_cache.place(cache) / engine_cache.INDEX
    index.write_text(index.read_text("utf-8").replace(str(bundles[0]), str(bundle)), "utf-8")
    engines = tuple(engine_cache.entries(cache))
    return BuildReport(engines, len(engines), engine_cache.place(cache))


def _card(monkeypatch: pytest.MonkeyPatch, card: Gpu | None) -> None:
    monkeypatch.setattr(build, "current_gpu", lambda: card)


def _change_weights(bundle: Path, rewrite_manifest: Callable[[Path], None]) -> None:
    weights = bundle / GRAPH.replace(".onnx", ".data")
    weights.write_bytes(weights.read_bytes()[::-1])
    rewrite_manifest(bundle)


def test_tensorrt_for_rtx_makes_an_engine_of_each_graph_that_the_cache_then_finds(tmp_path, bundle, run):
    pytest.importorskip("tensorrt_rtx")
    report, said = run(gpu=("sm86",))
    assert [facts.spec.role for facts in report.engines] == [GRAPH, "mapping.onnx", "style_encoder.onnx"]
    assert report.built == 3
    opened = open_bundle(bundle)
    for facts in report.engines:
        card = Gpu("NVIDIA RTX 3090", (8, 6), "13.0")
        digest = opened.graph(facts.spec.role)[1]
        assert engine_cache.find(digest, "tensorrt-rtx", facts.spec.version, card, tmp_path / "cache") == facts
        assert b"accelerators={sm86 }" in engine_cache.load(facts, tmp_path / "cache")
        assert facts.kernels >= 1
    assert [line.partition(":")[0] for line in said] == [f"{facts.spec.role} for sm86" for facts in report.engines]
    assert "kernels" in said[0]
    assert "MB of activations an image" in said[0]
    assert report.summary().startswith("3 engines built, 0 there already (")


def test_generations_are_apart_in_the_cache(tmp_path, bundle, run):
    pytest.importorskip("tensorrt_rtx")
    first, _ = run(gpu=("sm80", "sm120"))
    assert [facts.spec.target for facts in first.engines[::3]] == ["sm80", "sm120"]
    contents = [engine_cache.load(facts, tmp_path / "cache") for facts in first.engines[::3]]
    assert b"accelerators={sm80 }" in contents[0]
    assert b"accelerators={sm120 }" in contents[1]


def test_what_is_there_and_fits_is_kept_with_one_line_each(built, run):
    second, said = run()
    assert second == BuildReport(built.engines, 0, built.folder)
    assert said == [f"{facts.spec.role} for sm89 is there already, built {facts.built[:10]}" for facts in built.engines]


def test_full_tensorrt_gets_an_engine_for_this_gpu(built):
    assert {(facts.spec.flavour, facts.spec.target, facts.spec.gpu, facts.spec.driver) for facts in built.engines} == {
        ("tensorrt", "sm89", "NVIDIA L4", "13.0")
    }
    assert {facts.kernels for facts in built.engines} == {None}  # its file does not say


def test_a_bundle_without_a_source_is_built_for_styles_and_noise(tmp_path, full, generator_bundle):
    bundle, cache = with_tensorrt_variant(generator_bundle, tmp_path / "G"), tmp_path / "cache"
    report = build_engines(bundle, BuildOptions(batch="1:2:4"), progress=lambda line: None, folder=cache)
    assert [facts.spec.role for facts in report.engines] == [FRAME_GRAPH, "mapping.onnx"]
    frame, mapping = (json.loads(engine_cache.load(facts, cache))["shapes"] for facts in report.engines)
    assert frame == {
        "style": [[1, 4, 6], [2, 4, 6], [4, 4, 6]],
        "noise_0": [[1, 1, 8, 8], [1, 1, 8, 8], [4, 1, 8, 8]],
        "noise_1": [[1, 1, 16, 16], [1, 1, 16, 16], [4, 1, 16, 16]],
    }
    assert mapping == {"latent": [[1, 4], [1, 4], [8, 4]]}


def test_kernels_that_were_timed_for_one_engine_are_not_timed_again_for_the_next(tmp_path, built):
    told = [json.loads(engine_cache.load(facts, tmp_path / "cache"))["timings"] for facts in built.engines]
    assert told == ["", "measured;", "measured;measured;"]


def _new_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    _card(monkeypatch, Gpu(CARD.name, CARD.compute_capability, "13.1"))


def _new_card(monkeypatch: pytest.MonkeyPatch) -> None:
    _card(monkeypatch, Gpu("NVIDIA H200", (9, 0), "13.0"))


def _new_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_tensorrt, "__version__", "11.5.0.1")


@pytest.mark.parametrize(("change", "target", "reason"), [
    (_new_driver, "sm89", "it was built with a driver for CUDA 13.0, but this one is for 13.1"),
    (_new_card, "sm90", "it was built on NVIDIA L4, this GPU is NVIDIA H200"),
    (_new_release, "sm89", "it was built by tensorrt 11.4.0.106, but this is 11.5.0.1"),
])  # fmt: skip
def test_what_no_longer_fits_is_built_again_with_one_line_that_says_why(
    built, run, monkeypatch, change, target, reason
):
    change(monkeypatch)
    report, said = run()
    assert report.built == 3
    assert said[0] == f"{GRAPH} for {target} is built again: {reason}"


def test_a_graph_that_has_changed_is_built_again_and_the_others_are_not(built, bundle, run, rewrite_manifest):
    _change_weights(bundle, rewrite_manifest)
    report, said = run()
    assert report.built == 1
    assert said[0] == f"{GRAPH} for sm89 is built again: the graph has changed"


def test_other_sizes_are_built_beside_the_first_which_serve_again_when_asked_for(tmp_path, full, bundle, run):
    first, _ = run(batch="1:4:8")
    second, said = run(batch="2")
    assert second.built == 1
    assert said[0].startswith(f"{GRAPH} for sm89: ")  # a first of its kind, not one "again"
    digest = open_bundle(bundle).graph(GRAPH)[1]

    def found() -> engine_cache.EngineFacts | None:
        return engine_cache.find(digest, "tensorrt", recorded_tensorrt.__version__, CARD, tmp_path / "cache")

    assert found() == second.engines[0]
    again, _ = run(batch="1:4:8")
    assert again.built == 0
    assert found() == first.engines[0]


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(b"torn")])
def test_a_damaged_engine_is_built_again(tmp_path, built, run, harm):
    harm(engine_cache.place(tmp_path / "cache") / built.engines[0].file)
    second, said = run()
    assert second.built == 1
    assert said[0] == f"{GRAPH} for sm89 is built again: its file is damaged or has gone"
    assert engine_cache.damage(second.engines[0], tmp_path / "cache") is None


def test_engines_in_a_bundle_are_ignored(tmp_path, built, bundle, run):
    """One that was built elsewhere, index and all, put where a bundle could bring it."""
    shutil.move(engine_cache.place(tmp_path / "cache"), bundle / "engines")
    digest = open_bundle(bundle).graph(GRAPH)[1]
    version = built.engines[0].spec.version
    assert engine_cache.find(digest, "tensorrt", version, CARD, tmp_path / "cache") is None
    again, _ = run()
    assert again.built == 3


def test_a_failed_build_is_one_sentence_and_the_others_are_made(tmp_path, full, bundle, run, monkeypatch):
    calls = []
    real = build.build_in_child

    def fail_at_second(*arguments: object) -> float:
        calls.append(arguments)
        monkeypatch.setenv("ATTEMPT", "crash" if len(calls) == 2 else "")
        return real(*arguments)

    monkeypatch.setattr(build, "build_in_child", fail_at_second)
    report, said = run()
    assert report.built == 2
    assert report.summary().startswith("2 engines built, 0 there already, 1 failed (")
    assert report.failed == (
        f"TensorRT 11.4.0.106 cannot build {bundle / 'mapping.onnx'} for sm89 (the compiler ended with SIGSEGV "
        "and without an engine: CHECK(status == CUDA_SUCCESS)): give another --precision or --form, or export the "
        "bundle again with this starcast",
    )
    assert said[1] == report.failed[0]
    assert [facts.spec.role for facts in engine_cache.entries(tmp_path / "cache")] == [GRAPH, "style_encoder.onnx"]
    assert engine_cache.strays(tmp_path / "cache") == ()


def test_an_interrupt_leaves_no_half_engine(tmp_path, full, run, monkeypatch):
    monkeypatch.setenv("ATTEMPT", "slow")
    real = build.build_in_child

    def interrupted(request: object, progress: object) -> float:
        def interrupt(done: float) -> None:
            raise KeyboardInterrupt

        return real(request, interrupt)

    monkeypatch.setattr(build, "build_in_child", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    left = {path.name for path in engine_cache.place(tmp_path / "cache").iterdir()}
    assert left <= {"build.lock", "index.lock"}


def test_two_builds_that_start_together_make_each_engine_once(tmp_path, bundle):
    pytest.importorskip("tensorrt_rtx")
    code = """
import sys
from pathlib import Path
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
options = BuildOptions(engine="tensorrt-rtx", gpu=("sm89",))
print(build_engines(Path(sys.argv[1]), options, progress=print, folder=Path(sys.argv[2])).built)
"""
    command = [sys.executable, "-c", code, str(bundle), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(int(lines[-1]) for lines in said) == 3
    assert len(engine_cache.entries(tmp_path / "cache")) == 3


def test_a_bundle_may_move_without_being_built_again(tmp_path, built, bundle):
    bundle.rename(tmp_path / "moved")
    said: list[str] = []
    report = build_engines(tmp_path / "moved", BuildOptions(), progress=said.append, folder=tmp_path / "cache")
    assert report.built == 0


def test_the_graph_that_is_built_is_the_stored_one(tmp_path, full, bundle, run):
    """Nothing rewrites it: the parser gets the bundle's own file."""
    report, _ = run()
    told = json.loads(engine_cache.load(report.engines[0], tmp_path / "cache"))
    assert Path(told["graph"]) == bundle / GRAPH
    assert {one.name for one in onnx.load(bundle / GRAPH).graph.input} == set(told["shapes"])


def test_the_index_is_read_by_people_too(built):
    text = (built.folder / engine_cache.INDEX).read_text()
    assert msgspec.json.decode(text.encode(), type=engine_cache.Index).engines == built.engines
    assert len(text.splitlines()) > 10
