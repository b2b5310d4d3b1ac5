"""Which rows a GPU has, and why the others do not run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from stand_in_gpu import SHORT, gpu_setting
from tensorrt_bundle import with_tensorrt_graph

from starcast.benchmarks.bench import gpu as module
from starcast.benchmarks.bench.gpu import ENGINES, NvidiaGpu, batches_of, wanted_variants
from starcast.benchmarks.bench.prepare import bundle_rows, prepare_rows
from starcast.benchmarks.bench.rows import EAGER
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.options import BenchOptions
from starcast.errors import OptionError
from starcast.export.torch_engine.engine import TorchEngine
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines import tensorrt
from starcast.runtime.engines.base import Absence, Engine
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import build
from starcast.runtime.nvidia.tensorrt.build import BuildReport

DATA_CENTRE = Gpu("NVIDIA H200", (9, 0), "13.0")
ARTISTS = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")


class Told(Engine):
    """An engine that is absent, or not ready, for a given reason."""

    def __init__(self, name, absent=None, ready=None):
        self.name, self.extra, self.on_gpu = name, name, True
        self._absent = None if absent is None else Absence(absent, pip_helps=False)
        self._ready = ready

    def absent(self):
        return self._absent

    def version(self):
        return "1.0"

    def devices(self, graph):
        return {}

    def open(self, graph, options):
        raise AssertionError("rows open nothing")

    def why_not_ready(self, bundle, variant, options=None):
        return self._ready


@pytest.fixture
def bundle(tiny_bundle):
    """Float32 for everything; fp16 for TensorRT, spelled and as a plugin's node."""
    opened = open_bundle(tiny_bundle)
    [plain] = opened.manifest.variants
    spelled = msgspec.structs.replace(
        plain, file="generator/taps16-fused-fp16.onnx", form="taps16", precision="fp16", parity=None,
        engines=("tensorrt", "tensorrt-rtx"),
    )  # fmt: skip
    plugin = msgspec.structs.replace(spelled, adain="plugin", engines=("tensorrt",))
    variants = (plain, spelled, plugin)
    return type(opened)(opened.path, msgspec.structs.replace(opened.manifest, variants=variants), opened.sha256)


def told(monkeypatch, **engines):
    """Put engines in the place of those that are named, with dashes for underscores."""
    named = {engine.name: engine for engine in engines.values()}
    monkeypatch.setattr(module, "find_engine", lambda name: named.get(name) or Told(name, absent="not installed"))


def test_a_bundle_has_a_row_for_every_variant_of_every_engine_that_is_ready(monkeypatch, bundle):
    told(monkeypatch, full=Told("tensorrt"), rtx=Told("tensorrt-rtx"))
    rows, left_out = bundle_rows(NvidiaGpu(SHORT, ARTISTS), bundle, gpu_setting())
    assert list(rows) == [
        "ours-tensorrt-taps16-fp16", "ours-tensorrt-taps16-plugin-fp16", "ours-tensorrt-rtx-taps16-fp16",
    ]  # fmt: skip
    assert rows["ours-tensorrt-taps16-plugin-fp16"].name == "starcast on TensorRT, taps16-plugin, fp16"
    assert all(row.setting.method == SHORT and row.ours for row in rows.values())
    assert set(left_out) == {"ours-cuda", "ours-torch"}  # told to run nothing of it


def test_torch_gives_a_float32_graph_in_every_precision_that_it_makes(monkeypatch, bundle):
    told(monkeypatch, torch=TorchEngine())
    rows, _ = bundle_rows(NvidiaGpu(SHORT, DATA_CENTRE), bundle, gpu_setting())
    assert list(rows) == [f"ours-torch-plain-{precision}" for precision in ("fp32", "fp16", "bf16")]
    assert len({row.variant for row in rows.values()}) == 1


def test_a_gpu_that_wheels_have_no_engine_for_is_told_so(monkeypatch, bundle):
    made_for = "installed, but made for sm75: this card is sm90"
    told(monkeypatch, full=Told("tensorrt", absent="not installed"), rtx=Told("tensorrt-rtx", absent=made_for))
    rows, left_out = bundle_rows(NvidiaGpu(SHORT, DATA_CENTRE), bundle, gpu_setting())
    assert rows == {}
    assert left_out["ours-tensorrt-taps16-fp16"].reason == "not run: no engine for sm_90 from wheels (not installed)"
    assert left_out["ours-tensorrt-rtx-taps16-fp16"].reason == f"not run: no engine for sm_90 from wheels ({made_for})"


def test_a_flavour_that_knows_the_gpu_is_only_not_installed(monkeypatch, bundle):
    told(monkeypatch, rtx=Told("tensorrt-rtx", absent="not installed"))
    _, left_out = bundle_rows(NvidiaGpu(SHORT, ARTISTS), bundle, gpu_setting())
    assert left_out["ours-tensorrt-rtx-taps16-fp16"].reason == "not run: not installed"


def test_an_engine_that_has_to_be_built_first_gives_the_line(monkeypatch, bundle):
    line = "has no engine here: `starcast build` builds one"
    told(monkeypatch, rtx=Told("tensorrt-rtx", ready=line))
    rows, left_out = bundle_rows(NvidiaGpu(SHORT, ARTISTS), bundle, gpu_setting())
    assert rows == {}
    assert left_out["ours-tensorrt-rtx-taps16-fp16"].reason == f"not run: {line}"


def test_a_bundle_without_graphs_for_an_engine_says_how_to_export_them(tiny_bundle):
    _, left_out = bundle_rows(NvidiaGpu(SHORT, ARTISTS), open_bundle(tiny_bundle), gpu_setting())
    assert "export --for tensorrt" in left_out["ours-tensorrt"].reason
    assert "export --for tensorrt" in left_out["ours-tensorrt-rtx"].reason


def test_a_form_that_two_engines_share_is_run_once(bundle):
    twice = msgspec.structs.replace(bundle.manifest, variants=(bundle.manifest.variants[0],) * 2)
    shared = type(bundle)(bundle.path, twice, bundle.sha256)
    assert len(list(wanted_variants(shared, TorchEngine()))) == 3


def test_every_engine_of_the_table_exists():
    assert [find_engine(name).name for name in ENGINES] == list(ENGINES)
    assert all(find_engine(name).on_gpu for name in ENGINES)


def test_peers_begin_with_exact_eager_and_torch_is_never_missing():
    assert next(iter(NvidiaGpu.peers)) == EAGER
    assert NvidiaGpu.peers[EAGER].precision == "fp32"
    assert all(NvidiaGpu().why_not_peer(peer) is None for peer in NvidiaGpu.peers.values() if peer.engine == "pytorch")


def test_a_peer_whose_engine_is_absent_says_so(monkeypatch):
    monkeypatch.setattr("starcast.benchmarks.bench.device.find_engine", lambda name: Told(name, absent="not installed"))
    assert NvidiaGpu().why_not_peer(NvidiaGpu.peers["plain-cuda"]) == "not installed"


def test_batches_are_whole_numbers_in_order():
    assert batches_of(BenchOptions()) == (1, 2, 4, 8, 16, 32, 64)
    assert batches_of(BenchOptions(batches=("8", "2", "8"))) == (2, 8)
    assert batches_of(BenchOptions(quick=True)) == (1, 16)
    assert batches_of(BenchOptions(quick=True, batches=("2", "3"))) == (2,)
    for wrong in ("0", "many", "-1", "1.5"):
        with pytest.raises(OptionError, match="--batches"):
            batches_of(BenchOptions(batches=("1", wrong)))


def test_quick_takes_fewer_rounds_samples_and_batches():
    plan = NvidiaGpu().plan(BenchOptions(quick=True))
    assert (plan.pace.rounds, plan.method.window_s, plan.method.window_samples, plan.batches) == (3, 1.0, 100, (1, 16))


GPU = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")
DEVICE = NvidiaGpu(SHORT, GPU)
KEY = "ours-tensorrt-rtx-taps16-fp16"
SIZE = (32, 32)


@pytest.fixture
def tensorrt_bundle(tmp_path, tiny_bundle, monkeypatch) -> Bundle:
    """With a graph for TensorRT, on a machine with a GPU and no engines of the user's."""
    pytest.importorskip("tensorrt_rtx")
    for place in (build, tensorrt, module):
        monkeypatch.setattr(place, "current_gpu", lambda: GPU)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    return open_bundle(with_tensorrt_graph(tiny_bundle, tmp_path / "B"))


def test_what_a_row_lacks_is_built_beside_the_users_cache(tmp_path, tensorrt_bundle):
    cache = tmp_path / "B.engines"
    rows, left_out = bundle_rows(DEVICE, tensorrt_bundle, gpu_setting(cache=cache))
    assert KEY not in rows
    assert "starcast build" in left_out[KEY].reason
    said: list[str] = []
    assert DEVICE.build_missing(tensorrt_bundle, SIZE, {KEY}, cache, said.append) == {}
    assert said[0] == f"building engines for {KEY}"
    rows, left_out = bundle_rows(DEVICE, tensorrt_bundle, gpu_setting(cache=cache))
    assert rows[KEY].setting.cache == cache
    assert KEY not in left_out
    assert KEY not in bundle_rows(DEVICE, tensorrt_bundle, gpu_setting())[0]  # the user has none
    assert DEVICE.build_missing(tensorrt_bundle, SIZE, {KEY}, cache, said.append) == {}
    assert "is there already" in said[-1]


def test_rows_that_nobody_asked_for_and_flavours_that_are_not_here_are_not_built(
    tmp_path, tensorrt_bundle, monkeypatch
):
    monkeypatch.setattr(module, "build_engines", lambda *_, **__: pytest.fail("nothing is to be built"))
    assert (
        DEVICE.build_missing(tensorrt_bundle, SIZE, {"ours-tensorrt-taps16-fp16"}, tmp_path / "c", lambda _: None) == {}
    )
    assert DEVICE.build_missing(tensorrt_bundle, SIZE, set(), tmp_path / "c", lambda _: None) == {}


@pytest.mark.parametrize("refused", [False, True])
def test_what_cannot_be_built_is_left_out_with_the_reason(tmp_path, tensorrt_bundle, monkeypatch, refused):
    def failing(*_: object, folder: Path, **__: object) -> BuildReport:
        if refused:
            raise OptionError("--size is odd")
        return BuildReport((), 0, folder, ("makes no engine", "nor another"))

    monkeypatch.setattr(module, "build_engines", failing)
    subject = Subject(tmp_path / "weights.pt", tensorrt_bundle, tmp_path, tmp_path / "B.engines")
    _, left_out = prepare_rows(
        subject, SimpleNamespace(), BenchOptions(rows=(KEY,)), DEVICE, gpu_setting(cache=subject.engines)
    )
    [out] = left_out
    assert out.reason == ("not run: --size is odd" if refused else "not run: makes no engine")


def test_a_bundle_that_was_given_is_run_as_the_user_built_it(tmp_path, tensorrt_bundle, monkeypatch):
    monkeypatch.setattr(module, "build_engines", lambda *_, **__: pytest.fail("nothing is to be built"))
    subject = Subject(tmp_path / "weights.pt", tensorrt_bundle, tmp_path)
    _, left_out = prepare_rows(
        subject, SimpleNamespace(), BenchOptions(rows=(KEY,)), DEVICE, gpu_setting(cache=subject.engines)
    )
    assert "starcast build" in left_out[0].reason


def test_a_bundle_without_a_source_is_built_for_its_only_size(tmp_path, generator_bundle, monkeypatch):
    asked: list[str | None] = []

    def noted(_: Path, options: build.BuildOptions, **__: object) -> BuildReport:
        asked.append(options.size)
        return BuildReport((), 0, tmp_path)

    monkeypatch.setattr(module, "build_engines", noted)
    bundle = open_bundle(generator_bundle)  # of 16x16; another --size than a model's only one is refused
    [variant] = bundle.manifest.variants
    assert module.build_engines_for("tensorrt", variant, bundle, (16, 16), tmp_path, lambda _: None) is None
    assert asked == [None]


def test_another_size_than_the_bundles_is_built_for_as_build_takes_it(tmp_path, tensorrt_bundle, monkeypatch):
    asked: list[str | None] = []

    def noted(_: Path, options: build.BuildOptions, **__: object) -> BuildReport:
        asked.append(options.size)
        return BuildReport((), 0, tmp_path)

    monkeypatch.setattr(module, "build_engines", noted)
    for size in ((32, 32), (64, 96)):
        DEVICE.build_missing(tensorrt_bundle, size, {KEY}, tmp_path, lambda _: None)
    assert asked == [None, "96x64"]
    fixed = msgspec.structs.replace(tensorrt_bundle.manifest.variants[-1], sizes=((32, 32),))
    only = type(tensorrt_bundle)(
        tensorrt_bundle.path,
        msgspec.structs.replace(tensorrt_bundle.manifest, variants=(fixed,)),
        tensorrt_bundle.sha256,
    )
    DEVICE.build_missing(only, (64, 96), {KEY}, tmp_path, lambda _: None)
    assert len(asked) == 2
