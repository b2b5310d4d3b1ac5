from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tensorrt_bundle import GRAPH, with_tensorrt_graph, with_tensorrt_variant

from starcast.errors import OptionError, VariantMissingError
from starcast.runtime.bundle import open_bundle, sha256_of
from starcast.runtime.manifest import MANIFEST, ExtraInput, FileFacts, LandmarkMaker, Manifest
from starcast.runtime.manifest_json import encode
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, Flavour
from starcast.runtime.nvidia.tensorrt.orders import plan_orders
from starcast.runtime.nvidia.tensorrt.targets import Targets

FULL, RTX = FLAVOURS["tensorrt"], FLAVOURS["tensorrt-rtx"]
CARD = Gpu("NVIDIA L4", (8, 9), "13.0")


@pytest.fixture(autouse=True)
def releases(monkeypatch):
    monkeypatch.setattr(Flavour, "version", lambda flavour: "1.2.3")


@pytest.fixture
def bundle(tmp_path, tiny_bundle) -> Path:
    return with_tensorrt_graph(tiny_bundle, tmp_path / "B")


def _orders(bundle: Path, *generations: str, flavour: Flavour = RTX, gpu: Gpu | None = None, **options: object):
    targets = Targets(flavour, generations or ("sm89",), gpu)
    return plan_orders(open_bundle(bundle), BuildOptions(**options), targets)


def test_the_translation_and_both_makers_of_styles_are_built_for_every_generation(bundle):
    orders = _orders(bundle, "sm86", "sm120")
    assert [(order.spec.role, order.spec.target, order.spec.precision) for order in orders] == [
        (GRAPH, "sm86", "fp16"), ("mapping.onnx", "sm86", "fp32"), ("style_encoder.onnx", "sm86", "fp32"),
        (GRAPH, "sm120", "fp16"), ("mapping.onnx", "sm120", "fp32"), ("style_encoder.onnx", "sm120", "fp32"),
    ]  # fmt: skip
    assert len({order.spec.key for order in orders}) == 6


def test_by_default_the_batch_is_open_and_the_size_is_the_bundles(bundle):
    generator, mapping, encoder = _orders(bundle)
    assert generator.spec.inputs == {
        "image": ((1, 32, 32, 3), (4, 32, 32, 3), (8, 32, 32, 3)), "style": ((1, 8), (4, 8), (8, 8)),
    }  # fmt: skip
    assert mapping.spec.inputs == {"latent": ((1, 4), (1, 4), (8, 4)), "domain": ((1,), (1,), (8,))}
    assert encoder.spec.inputs == {
        "image": ((1, 32, 32, 3), (1, 32, 32, 3), (8, 32, 32, 3)),
        "domain": ((1,), (1,), (8,)),
    }


def test_one_style_may_serve_a_batch_that_does_not_change(bundle):
    [generator, *_] = _orders(bundle, batch="6", size="64x48")
    assert generator.spec.inputs == {"image": ((6, 48, 64, 3),) * 3, "style": ((1, 8), (6, 8), (6, 8))}


def test_the_makers_of_styles_are_the_same_whatever_the_images_are(bundle):
    others = [_orders(bundle, **options)[1:] for options in ({}, {"size": "16x16:32x32:64x64"}, {"batch": "2"})]
    assert others[0] == others[1] == others[2]


def test_a_graph_of_fixed_size_takes_no_other(tmp_path, tiny_bundle):
    bundle = with_tensorrt_graph(tiny_bundle, tmp_path / "B", sizes=((32, 32),))
    assert _orders(bundle)[0].spec.inputs["image"] == ((1, 32, 32, 3), (4, 32, 32, 3), (8, 32, 32, 3))
    with pytest.raises(OptionError, match="has a fixed size"):
        _orders(bundle, size="64x64")


def test_a_size_off_the_bundles_stride_is_an_error(bundle):
    with pytest.raises(OptionError, match="multiples of 4 only: give 36 in place of 34"):
        _orders(bundle, size="34x32")


def test_a_precision_that_the_bundle_lacks_names_the_line_that_exports_it(bundle):
    with pytest.raises(VariantMissingError) as caught:
        _orders(bundle, precision="int8")
    assert f"`starcast export CHECKPOINT -o {bundle} --for tensorrt --precisions int8`" in str(caught.value)
    assert "it has taps16 in fp16" in str(caught.value)


def test_graphs_for_other_engines_are_not_taken(bundle):
    with pytest.raises(VariantMissingError, match="no graph for TensorRT for RTX in fp32"):
        _orders(bundle, precision="fp32")


def test_a_bundle_without_any_names_the_same_line(tiny_bundle):
    with pytest.raises(VariantMissingError, match="it has none at all"):
        _orders(tiny_bundle)


def test_a_form_that_is_not_there_is_named(bundle):
    with pytest.raises(VariantMissingError, match="phases in fp16"):
        _orders(bundle, form="phases")


def test_a_batch_above_what_the_graph_takes_is_an_error(tmp_path, tiny_bundle):
    with pytest.raises(OptionError, match="takes at most 2 images: give that"):
        _orders(with_tensorrt_graph(tiny_bundle, tmp_path / "B", max_batch=2))


def test_a_graph_for_one_style_only_gets_one(tmp_path, tiny_bundle):
    [generator, *_] = _orders(with_tensorrt_graph(tiny_bundle, tmp_path / "B", one_style=True))
    assert generator.spec.inputs["style"] == ((1, 8),) * 3


def test_without_a_source_every_image_has_its_style_and_noise_may_serve_the_whole_batch(tmp_path, generator_bundle):
    generator, mapping = _orders(with_tensorrt_variant(generator_bundle, tmp_path / "B"))
    assert generator.spec.inputs == {
        "style": ((1, 4, 6), (4, 4, 6), (8, 4, 6)),
        "noise_0": ((1, 1, 8, 8), (1, 1, 8, 8), (8, 1, 8, 8)),
        "noise_1": ((1, 1, 16, 16), (1, 1, 16, 16), (8, 1, 16, 16)),
    }  # fmt: skip
    assert mapping.spec.inputs == {"latent": ((1, 4), (1, 4), (8, 4))}  # no domains


def test_a_batch_that_does_not_change_leaves_the_noise_its_choice(tmp_path, generator_bundle):
    [generator, _] = _orders(with_tensorrt_variant(generator_bundle, tmp_path / "B"), batch="3")
    assert generator.spec.inputs["style"] == ((3, 4, 6),) * 3
    assert generator.spec.inputs["noise_1"] == ((1, 1, 16, 16), (1, 1, 16, 16), (3, 1, 16, 16))


def test_a_bundle_without_a_source_has_one_size_and_takes_no_other(tmp_path, generator_bundle):
    with pytest.raises(OptionError, match="makes images of one size: leave it out"):
        _orders(with_tensorrt_variant(generator_bundle, tmp_path / "B"), size="64x64")


def test_a_bundle_without_a_source_or_a_graph_for_tensorrt_names_the_line_that_makes_one(generator_bundle):
    with pytest.raises(VariantMissingError, match="--for tensorrt --precisions fp16"):
        _orders(generator_bundle)


def test_only_the_graph_with_the_kernel_depends_on_it(tmp_path, tiny_bundle):
    bundle = with_tensorrt_graph(tiny_bundle, tmp_path / "B", adain="plugin", engines=("tensorrt",))
    generator, mapping, encoder = _orders(bundle, flavour=FULL, gpu=CARD)
    assert generator.spec.plugin is not None
    assert mapping.spec.plugin is encoder.spec.plugin is None
    with pytest.raises(VariantMissingError, match="TensorRT for RTX"):
        _orders(bundle)


def test_the_gpu_counts_only_where_kernels_are_timed_on_it(bundle):
    assert {(order.spec.gpu, order.spec.driver) for order in _orders(bundle, flavour=FULL, gpu=CARD)} == {
        ("NVIDIA L4", "13.0")
    }
    assert {(order.spec.gpu, order.spec.driver) for order in _orders(bundle)} == {(None, None)}


@pytest.mark.parametrize("change", [
    {"graph": "f" * 64}, {"precision": "bf16"}, {"flavour": FULL.name}, {"version": "1.2.4"}, {"target": "sm86"},
    {"gpu": "NVIDIA L40"}, {"driver": "13.1"}, {"plugin": "0" * 64}, {"inputs": {"image": ((1,), (1,), (2,))}},
], ids=lambda change: next(iter(change)))  # fmt: skip
def test_the_key_depends_on_everything_that_makes_an_engine_valid(bundle, change):
    [order, *_] = _orders(bundle, flavour=RTX, gpu=CARD)
    assert msgspec.structs.replace(order.spec, **change).key != order.spec.key


def test_the_key_does_not_depend_on_where_the_bundle_lies(bundle):
    [order, *_] = _orders(bundle)
    moved = msgspec.structs.replace(order.spec, bundle="/elsewhere", role="x.onnx")
    assert moved.key == order.spec.key


def test_landmarks_are_found_and_masks_made_for_one_source_at_a_time(tmp_path, tiny_bundle):
    folder = with_tensorrt_graph(tiny_bundle, tmp_path / "B")
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    changed = msgspec.structs.replace(
        manifest,
        landmarks=LandmarkMaker(graph="landmarks.onnx", points=98, height=64, width=64),
        extra_inputs=(
            ExtraInput(name="masks", reads="heatmaps", graph="masks.onnx", channels=2, height=128, width=128),
            ExtraInput(name="grey", graph="grey.onnx", channels=1, height=16, width=16),
        ),
    )
    for name in ("landmarks.onnx", "masks.onnx", "grey.onnx"):
        (folder / name).write_bytes(b"a graph")
        changed.files[name] = FileFacts(sha256=sha256_of(folder / name), bytes=7)
    (folder / MANIFEST).write_bytes(encode(changed))
    orders = {order.spec.role: order.spec for order in _orders(folder, batch="1:2:4", size="32x32:64x48:64x64")}
    image = ((1, 32, 32, 3), (1, 48, 64, 3), (1, 64, 64, 3))
    assert orders["landmarks.onnx"].inputs == orders["grey.onnx"].inputs == {"image": image}
    assert orders["masks.onnx"].inputs == {"heatmaps": ((1, 98, 64, 64),) * 3}
    assert {orders[name].precision for name in ("landmarks.onnx", "masks.onnx", "grey.onnx")} == {"fp32"}
    assert orders[GRAPH].inputs == {
        "image": ((1, 32, 32, 3), (2, 48, 64, 3), (4, 64, 64, 3)), "style": ((1, 8), (2, 8), (4, 8)),
        "masks": ((1, 2, 128, 128), (2, 2, 192, 256), (4, 2, 256, 256)),
        "grey": ((1, 1, 16, 16), (2, 1, 24, 32), (4, 1, 32, 32)),
    }  # fmt: skip
