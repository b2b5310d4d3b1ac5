"""Engines of a bundle that was generated to be measured, built for a GPU that is said to be here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from stand_in_gpu import SHORT, gpu_setting
from tensorrt_bundle import with_tensorrt_graph

from starcast.benchmarks.bench import build as module
from starcast.benchmarks.bench import gpu as gpu_module
from starcast.benchmarks.bench.gpu import NvidiaGpu
from starcast.benchmarks.bench.prepare import bundle_rows, prepare_rows
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.options import BenchOptions
from starcast.errors import OptionError
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines import tensorrt
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import build
from starcast.runtime.nvidia.tensorrt.build import BuildReport

GPU = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")
DEVICE = NvidiaGpu(SHORT, GPU)
KEY = "ours-tensorrt-rtx-taps16-fp16"
SIZE = (32, 32)


@pytest.fixture
def bundle(tmp_path, tiny_bundle, monkeypatch) -> Bundle:
    """With a graph for TensorRT, on a machine with a GPU and no engines of the user's."""
    pytest.importorskip("tensorrt_rtx")
    for place in (build, tensorrt, gpu_module):
        monkeypatch.setattr(place, "current_gpu", lambda: GPU)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    return open_bundle(with_tensorrt_graph(tiny_bundle, tmp_path / "B"))


def test_what_a_row_lacks_is_built_beside_the_users_cache(tmp_path, bundle):
    cache = tmp_path / "B.engines"
    rows, left_out = bundle_rows(DEVICE, bundle, gpu_setting(cache=cache))
    assert KEY not in rows
    assert "starcast build" in left_out[KEY].reason
    said: list[str] = []
    assert DEVICE.build_missing(bundle, SIZE, {KEY}, cache, said.append) == {}
    assert said[0] == f"building engines for {KEY}"
    rows, left_out = bundle_rows(DEVICE, bundle, gpu_setting(cache=cache))
    assert rows[KEY].cache == cache
    assert KEY not in left_out
    assert KEY not in bundle_rows(DEVICE, bundle, gpu_setting())[0]  # the user has none
    assert DEVICE.build_missing(bundle, SIZE, {KEY}, cache, said.append) == {}
    assert "is there already" in said[-1]


def test_rows_that_nobody_asked_for_and_flavours_that_are_not_here_are_not_built(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(module, "build_engines", lambda *_, **__: pytest.fail("nothing is to be built"))
    assert DEVICE.build_missing(bundle, SIZE, {"ours-tensorrt-taps16-fp16"}, tmp_path / "c", lambda _: None) == {}
    assert DEVICE.build_missing(bundle, SIZE, set(), tmp_path / "c", lambda _: None) == {}


@pytest.mark.parametrize("refused", [False, True])
def test_what_cannot_be_built_is_left_out_with_the_reason(tmp_path, bundle, monkeypatch, refused):
    def failing(*_: object, folder: Path, **__: object) -> BuildReport:
        if refused:
            raise OptionError("--size is odd")
        return BuildReport((), 0, folder, ("makes no engine", "nor another"))

    monkeypatch.setattr(module, "build_engines", failing)
    subject = Subject(tmp_path / "weights.pt", bundle, tmp_path, tmp_path / "B.engines")
    _, left_out = prepare_rows(
        subject, SimpleNamespace(), BenchOptions(rows=(KEY,)), DEVICE, gpu_setting(cache=subject.engines)
    )
    [out] = left_out
    assert out.reason == ("not run: --size is odd" if refused else "not run: makes no engine")


def test_a_bundle_that_was_given_is_run_as_the_user_built_it(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(module, "build_engines", lambda *_, **__: pytest.fail("nothing is to be built"))
    subject = Subject(tmp_path / "weights.pt", bundle, tmp_path)
    _, left_out = prepare_rows(
        subject, SimpleNamespace(), BenchOptions(rows=(KEY,)), DEVICE, gpu_setting(cache=subject.engines)
    )
    assert "starcast build" in left_out[0].reason


def test_another_size_than_the_bundles_is_built_for_as_build_takes_it(tmp_path, bundle, monkeypatch):
    asked: list[str | None] = []

    def noted(_: Path, options: build.BuildOptions, **__: object) -> BuildReport:
        asked.append(options.size)
        return BuildReport((), 0, tmp_path)

    monkeypatch.setattr(module, "build_engines", noted)
    for size in ((32, 32), (64, 96)):
        DEVICE.build_missing(bundle, size, {KEY}, tmp_path, lambda _: None)
    assert asked == [None, "96x64"]
    fixed = msgspec.structs.replace(bundle.manifest.variants[-1], sizes=((32, 32),))
    only = type(bundle)(bundle.path, msgspec.structs.replace(bundle.manifest, variants=(fixed,)), bundle.sha256)
    DEVICE.build_missing(only, (64, 96), {KEY}, tmp_path, lambda _: None)
    assert len(asked) == 2
