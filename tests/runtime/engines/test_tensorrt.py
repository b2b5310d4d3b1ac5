"""TensorRT behind the runtime's interface: from a bundle and engines in the cache to pictures, on a GPU of numpy."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

pytest.importorskip("cuda.bindings.driver", reason="the fake card's constants are cuda-python's")

import fake_tensorrt
from fake_cuda import FakeCuda, install
from fake_tensorrt import FakeTensorRT, engine
from tensorrt_bundle import with_tensorrt_variant
from tiny_generator import FRAME_GRAPH, TinyGenerator

from starcast.errors import EngineError, MissingExtraError
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines import registry
from starcast.runtime.engines.base import Absence, EngineOptions, Graph
from starcast.runtime.nvidia import dlpack, first_gpu, placement
from starcast.runtime.nvidia.arrays import DeviceArray
from starcast.runtime.nvidia.cuda_python import CudaPython
from starcast.runtime.nvidia.tensorrt import engine_cache
from starcast.runtime.nvidia.tensorrt.engine_cache import KERNELS, EngineFacts, EngineSpec
from starcast.runtime.nvidia.tensorrt.flavours import Flavour
from starcast.runtime.translator import Translator

FLAVOURS = ("tensorrt-rtx", "tensorrt")
GENERATOR = "generator/plain-fp32.onnx"
ONE = ("int64", (1,), (4,))
ENGINES = {
    GENERATOR: engine("generator", image=("uint8", (1, 32, 32, 3), (4, 64, 64, 3)), style=("float32", (1, 8), (4, 8))),
    "mapping.onnx": engine("mapping", latent=("float32", (1, 4), (4, 4)), domain=ONE),
    "style_encoder.onnx": engine("encoder", image=("uint8", (1, 32, 32, 3), (4, 32, 32, 3)), domain=ONE),
}  # fmt: skip


@pytest.fixture(params=FLAVOURS)
def flavour(request) -> str:
    return request.param


@pytest.fixture
def bundle(tiny_bundle, tmp_path, rewrite_manifest) -> Bundle:
    """The tiny bundle, with a variant for TensorRT in fp16."""
    copy = tmp_path / "my-model"
    shutil.copytree(tiny_bundle, copy)
    [known] = open_bundle(copy).manifest.variants
    rewrite_manifest(copy, variants=(msgspec.structs.replace(known, engines=FLAVOURS, precision="fp16"),))
    return open_bundle(copy)


@dataclass
class Machine:
    """A GPU, TensorRT in one flavour, and the engines that were built."""

    card: FakeCuda
    trt: FakeTensorRT
    flavour: str
    bundle: Bundle

    @property
    def engine(self):
        return registry.ENGINES[self.flavour]

    def build(self, role: str, **changes: object) -> EngineFacts:
        content = ENGINES[role]
        key = hashlib.sha256(content).hexdigest()
        spec = EngineSpec(
            bundle=str(self.bundle.path), role=role, graph=self.bundle.graph(role)[1], precision="fp16", inputs={},
            flavour=self.flavour, version=self.trt.__version__, target="sm89",
        )  # fmt: skip
        facts = EngineFacts(
            spec=msgspec.structs.replace(spec, **changes), key=key, file=f"{key}.engine",
            sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), seconds=1.0,
            built="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
        with engine_cache.new_file(key) as file:
            file.write_bytes(content)
        engine_cache.add(facts)
        return facts

    def open(self, role: str = GENERATOR, precision: str = "fp16"):
        path, digest = self.bundle.graph(role)
        graph = Graph(path, digest=digest, bundle=self.bundle.path, precision=precision)
        return self.engine.open(graph, EngineOptions())


@pytest.fixture
def machine(monkeypatch, tmp_path, tiny_model, bundle, flavour):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    card = install(monkeypatch, FakeCuda())
    trt = FakeTensorRT(card, rtx=flavour == "tensorrt-rtx")
    monkeypatch.setattr(
        Flavour, "absent", lambda self: None if self.name == flavour else Absence("not installed", pip_helps=True)
    )
    monkeypatch.setattr(Flavour, "load", lambda self: trt)
    functions = {
        "generator": ("translation", lambda feeds: tiny_model.translation(feeds["image"], feeds["style"])),
        "mapping": ("style", lambda feeds: np.stack([
            tiny_model.latent_style(*pair) for pair in zip(feeds["latent"], feeds["domain"], strict=True)
        ]).astype(np.float32)),
        "encoder": ("style", lambda feeds: np.stack([
            tiny_model.reference_style(*pair) for pair in zip(feeds["image"], feeds["domain"], strict=True)
        ]).astype(np.float32)),
    }  # fmt: skip
    for name, function in functions.items():
        monkeypatch.setitem(fake_tensorrt.FUNCTIONS, name, function)
    yield Machine(card, trt, flavour, bundle)
    first_gpu._ask.cache_clear()


@pytest.fixture
def built(machine) -> Machine:
    for role in ENGINES:
        machine.build(role)
    return machine


def test_images_and_styles_go_through_a_bundles_engines(built, tiny_model):
    pictures = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    with Translator(built.bundle.path, precision="fp16") as translator:
        assert translator.backend == built.flavour
        seed = translator.style(domain="dog", seed=7)
        latent = np.random.RandomState(7).standard_normal(4).astype(np.float32)
        np.testing.assert_allclose(seed, tiny_model.latent_style(latent, 1), rtol=1e-6)
        style = translator.style(domain=2, reference=pictures[0, :, :32])
        np.testing.assert_allclose(style, tiny_model.reference_style(pictures[0, :, :32], 2), rtol=1e-5)
        np.testing.assert_array_equal(translator(pictures, style), tiny_model.translation(pictures, style))
        np.testing.assert_array_equal(translator(pictures[0], seed), tiny_model.translation(pictures[:1], seed)[0])
    gc.collect()
    assert built.card.leaks() == []


def test_a_closed_translator_stays_closed_and_leaves_nothing_behind(built):
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    translator = Translator(built.bundle.path, precision="fp16")
    style = np.ones(8, np.float32)
    translator(picture, style)
    translator.close()
    with pytest.raises(EngineError, match="has been closed: open it again"):
        translator(picture, style)
    translator.close()
    gc.collect()
    assert built.card.leaks() == []


class OnGpu:
    """Someone's pictures on the fake GPU."""

    def __init__(self, card: FakeCuda, pictures: np.ndarray) -> None:
        with CudaPython().active():
            self.address = card.cuMemAlloc(pictures.nbytes)[1]
        card.at(self.address, pictures.nbytes)[:] = pictures.reshape(-1)
        self.shape, self.dtype = pictures.shape, pictures.dtype

    def __dlpack_device__(self):
        return placement.GPU, 0

    def __dlpack__(self, *, stream):
        return dlpack.give(self, self.address, self.shape, self.dtype)


def test_frames_on_the_gpu_stay_there(built, tiny_model):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    style = np.arange(8, dtype=np.float32)
    with Translator(built.bundle.path, precision="fp16") as translator:
        given = translator(OnGpu(built.card, pictures), style)
        assert isinstance(given, DeviceArray)
        held = built.card.at(given.__cuda_array_interface__["data"][0], pictures.nbytes).reshape(pictures.shape)
        np.testing.assert_array_equal(held, tiny_model.translation(pictures, style))


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 30, 32, 3), (1, 32, 32, 4), (0, 32, 32, 3)])
def test_images_on_the_gpu_of_another_shape_are_refused(built, shape):
    pictures = OnGpu(built.card, np.zeros((1, 32, 32, 4), np.uint8))
    pictures.shape = shape
    words = r"\[N, H, W, 3\] with sides that are multiples of 4, not \["
    with Translator(built.bundle.path, precision="fp16") as translator, pytest.raises(ValueError, match=words):
        translator(pictures, np.ones(8))


def test_a_size_that_no_engine_was_built_for_is_told_before_it_runs(built):
    with Translator(built.bundle.path, precision="fp16") as translator:
        line = f"starcast build {built.bundle.path} --backend {built.flavour} --precision fp16 --size-range 80x32"
        assert line in translator.why_not(32, 80)
        assert translator.why_not(64, 64) is None
        with pytest.raises(ValueError, match="sources are 80x32: my-model's engine of generator/plain-fp32.onnx was"):
            translator(np.zeros((1, 32, 80, 3), np.uint8), np.ones(8))


SOURCELESS = {
    FRAME_GRAPH: engine(
        "images", style=("float32", (1, 4, 6), (4, 4, 6)), noise_0=("float32", (1, 1, 8, 8), (4, 1, 8, 8)),
        noise_1=("float32", (1, 1, 16, 16), (4, 1, 16, 16)),
    ),
    "mapping.onnx": engine("latents", latent=("float32", (1, 4), (4, 4))),
}  # fmt: skip


@pytest.mark.parametrize("noise", ["constant", "zero", 7, "own", "shared"])
def test_images_without_a_source_come_from_styles_and_every_kind_of_noise(
    machine, monkeypatch, tmp_path, generator_bundle, noise
):
    model, shapes = TinyGenerator(), []

    def images(feeds):
        planes = [feeds["noise_0"], feeds["noise_1"]]
        shapes.append((len(feeds["style"]), *(len(plane) for plane in planes)))
        return model.images(feeds["style"], planes)

    monkeypatch.setitem(fake_tensorrt.FUNCTIONS, "images", ("translation", images))
    monkeypatch.setitem(
        fake_tensorrt.FUNCTIONS, "latents", ("style", lambda feeds: model.style(feeds["latent"]).astype(np.float32))
    )
    machine.bundle = open_bundle(with_tensorrt_variant(generator_bundle, tmp_path / "G"))
    for role, content in SOURCELESS.items():
        monkeypatch.setitem(ENGINES, role, content)
        machine.build(role)
    draws = np.random.RandomState(3)
    planes = {
        "own": [draws.randn(9, 1, side, side).astype(np.float32) for side in (8, 16)],
        "shared": [draws.randn(count, 1, side, side).astype(np.float32) for count, side in ((1, 8), (9, 16))],
    }
    with Translator(machine.bundle, precision="fp16") as translator, Translator(generator_bundle) as on_cpu:
        assert translator.backend == machine.flavour
        styles = np.stack([translator.style(seed=seed) for seed in range(9)])
        np.testing.assert_allclose(styles, np.stack([on_cpu.style(seed=seed) for seed in range(9)]), rtol=1e-6)
        shapes.clear()
        given = translator.generate(styles, planes.get(noise, noise))
        np.testing.assert_array_equal(given, on_cpu.generate(styles, planes.get(noise, noise)))
    # in parts of 4, 4 and 1; noise that all images share is not copied for each of them
    planes_of_four = {"constant": (1, 1), "zero": (1, 1), "shared": (1, 4)}.get(noise, (4, 4))
    assert set(shapes) == {(4, *planes_of_four), (1, 1, 1)}
    gc.collect()
    assert machine.card.leaks() == []


def test_without_engines_the_line_that_builds_them_is_the_answer(machine):
    with pytest.raises(EngineError) as caught:
        Translator(machine.bundle.path, backend=machine.flavour, precision="fp16")
    title = machine.engine._flavour.title
    assert str(caught.value) == (
        f"{machine.bundle.path / GENERATOR} has no {title} engine for this machine (none was built for it): "
        f"`starcast build {machine.bundle.path} --backend {machine.flavour} --precision fp16` builds one"
    )


def test_an_engine_for_another_gpu_does_not_count_and_says_why(machine):
    for role in ENGINES:
        machine.build(role, target="sm86")
    [variant] = machine.bundle.manifest.variants
    assert "(it was built for sm86, this GPU is sm89)" in machine.engine.why_not_ready(machine.bundle, variant)


def test_the_makers_of_styles_need_engines_too(machine):
    machine.build(GENERATOR)
    machine.build("mapping.onnx")
    [variant] = machine.bundle.manifest.variants
    title = machine.engine._flavour.title
    assert f"style_encoder.onnx has no {title} engine" in machine.engine.why_not_ready(machine.bundle, variant)
    machine.build("style_encoder.onnx")
    assert machine.engine.why_not_ready(machine.bundle, variant) is None


def test_a_precision_that_is_there_is_named_beside_the_one_that_is_not(built):
    [half] = built.bundle.manifest.variants
    exact = msgspec.structs.replace(half, precision="fp32", file="mapping.onnx")  # any file that has another digest
    engine_cache.remove([hashlib.sha256(ENGINES["mapping.onnx"]).hexdigest()])
    both = Bundle(
        built.bundle.path,
        msgspec.structs.replace(
            built.bundle.manifest, variants=(exact, half),
            condition=msgspec.structs.replace(built.bundle.manifest.condition, latent=None),
        ),
        built.bundle.sha256,
    )  # fmt: skip
    assert built.engine.why_not_ready(both, exact).endswith("builds one, and --precision fp16 uses one that is ready")


def test_bytes_that_are_not_what_was_built_are_not_loaded(built):
    facts = next(facts for facts in engine_cache.entries() if facts.spec.role == GENERATOR)
    file = engine_cache.place() / facts.file
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(EngineError, match="has changed since it was built: build it again"):
        built.open()
    assert built.card.leaks() == []


@pytest.mark.parametrize("refuses", ["engine", "context"])
def test_an_engine_that_does_not_open_holds_nothing(built, refuses):
    built.trt.refuses[refuses] = "for a reason"
    with pytest.raises(EngineError, match="for a reason"):
        built.open()
    gc.collect()
    assert built.card.leaks() == []


def test_compiled_kernels_lie_beside_their_engine_and_go_with_it(built, flavour):
    session = built.open()
    session.run({"image": np.zeros((1, 32, 32, 3), np.uint8), "style": np.zeros((1, 8), np.float32)})
    session.close()
    kept = [path.name for path in engine_cache.place().glob(f"*{KERNELS}")]
    facts = next(facts for facts in engine_cache.entries() if facts.spec.role == GENERATOR)
    assert kept == ([f"{facts.file}{KERNELS}"] if flavour == "tensorrt-rtx" else [])
    built.open()
    assert [cache.loaded is not None for cache in built.trt.caches] == ([False, True] if kept else [])
    engine_cache.remove([facts.key])
    assert not list(engine_cache.place().glob(f"*{KERNELS}"))


def test_a_machine_without_a_gpu_says_so(machine, monkeypatch):
    install(monkeypatch, FakeCuda(card=None))
    assert machine.engine.absent() == Absence("installed, but the NVIDIA driver shows no GPU", pip_helps=False)
    assert machine.engine.devices(b"") == {}
    with pytest.raises(
        MissingExtraError, match=rf"{machine.flavour} cannot be used \(installed, but the NVIDIA driver"
    ):
        Translator(machine.bundle.path, backend=machine.flavour, precision="fp16")


def test_a_gpu_that_the_flavour_does_not_build_for_is_named(monkeypatch, machine, flavour):
    install(monkeypatch, FakeCuda(card="NVIDIA H100", compute_capability=(9, 0)))
    absence = machine.engine.absent()
    if flavour == "tensorrt":
        assert absence is None
    else:
        assert absence.reason.startswith("installed, but made for sm75, sm80")
        assert absence.reason.endswith("this GPU is sm90 (NVIDIA H100)")
        assert not absence.pip_helps


def test_a_driver_that_is_older_than_the_libraries_is_told(monkeypatch, machine, flavour):
    monkeypatch.setattr(Flavour, "cuda", lambda self: 13)
    assert machine.engine.absent() is None
    install(monkeypatch, FakeCuda(version=12080))
    assert machine.engine.absent().reason == (
        "installed, but made for CUDA 13, and the NVIDIA driver knows 12.8: update the driver, or pip install "
        f"{flavour}-cu12"
    )


def test_a_gpu_is_ready_when_something_was_built_for_it(machine, flavour):
    [reason] = machine.engine.devices(b"").values()
    assert reason == f"no engine has been built for it: `starcast build BUNDLE --backend {flavour}`"
    machine.build(GENERATOR)
    assert machine.engine.devices(b"") == {"Fake RTX": None}


@pytest.mark.skipif(os.name == "nt", reason="file modes are Unix's")
def test_a_cache_that_others_may_write_to_is_not_used_and_is_told(built):
    engine_cache.place().chmod(0o777)
    [variant] = built.bundle.manifest.variants
    assert "written to by others" in built.engine.why_not_ready(built.bundle, variant)
    with pytest.raises(EngineError, match="written to by others"):
        built.open()
    assert built.card.leaks() == []
