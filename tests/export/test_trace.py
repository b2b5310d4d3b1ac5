from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from starcast.export.gate.candidates import (
    OnnxCandidate,
    Trial,
    difference,
    open_session,
    translate_with_torch,
)
from starcast.export.gate.images import draw_images
from starcast.export.gate.parity import (
    check_generator,
    check_style_graph,
    expected_translations,
    make_trials,
)
from starcast.export.gate.reference import as_bytes
from starcast.export.plan import Plan
from starcast.export.targets.onnx import make_float32
from starcast.train.families.stargan_v2.networks import StarGANv2Config


@pytest.mark.parametrize(
    "config",
    [
        StarGANv2Config(
            image_size=512, domains=1, style_dim=5, latent_dim=3, mapping_width=12, channel_base=2048, max_channels=6
        ),
        StarGANv2Config(
            image_size=128, domains=5, style_dim=16, latent_dim=9, mapping_width=20, channel_base=512, max_channels=8
        ),
    ],
    ids=["512px-1domain-wide-norms", "128px-5domains-narrowing"],
)
def test_graphs_of_any_size_give_the_networks_numbers(
    config: StarGANv2Config, tmp_path: Path, random_networks: Any, trace_all: Any
) -> None:
    networks = random_networks(config)
    traced = trace_all(networks, config, tmp_path)
    trials = make_trials(traced.model)
    expected = expected_translations(networks.generator, trials)
    for plan in (Plan("plain", ("onnxruntime",)), Plan("taps9", ("onnxruntime",), one_style=True)):
        made = make_float32(ir.load(traced.generator), plan, config.image_size)
        wide = any(node.op_type == "ReduceMean" for node in made.frame.graph)
        assert wide == (config.image_size > 256)
        product = tmp_path / "product.onnx" if made.product is not None else None
        if made.product is not None:
            ir.save(made.product, tmp_path / "product.onnx")
        candidate = OnnxCandidate(made.frame, product, one_style=plan.one_style)
        check_generator(candidate, plan.name, trials, expected, lambda _: "a layer")
    for graph in traced.model.style_graphs():
        check_style_graph(traced.generator.with_name(graph.file), graph)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 32), (32, 96), (18, 34)])
def test_the_generator_takes_every_size_that_its_stride_divides(small: Any, height: int, width: int) -> None:
    styles = np.random.RandomState(0).standard_normal((2, small.config.style_dim)).astype(np.float32)
    trial = Trial(draw_images(2, height, width, seed=0), styles)
    [translation] = open_session(small.generator).run(None, trial.feeds)
    expected = as_bytes(translate_with_torch(small.networks.generator, trial))
    assert translation.shape == (2, height, width, 3)
    assert np.abs(translation.astype(int) - expected.astype(int)).max() <= 1


def test_one_style_serves_a_whole_batch(small: Any) -> None:
    style = np.random.RandomState(0).standard_normal((1, small.config.style_dim)).astype(np.float32)
    session, sources = open_session(small.generator), draw_images(4, 32, 32, seed=1)
    [shared] = session.run(None, {"image": sources, "style": style})
    [repeated] = session.run(None, {"image": sources, "style": style.repeat(4, axis=0)})
    np.testing.assert_array_equal(shared, repeated)


def test_each_sample_of_a_batch_gets_its_own_domain(small: Any) -> None:
    session = open_session(small.mapping)
    latent = np.ones((3, small.config.latent_dim), np.float32)
    [together] = session.run(None, {"latent": latent, "domain": np.array([2, 0, 1])})
    alone = [session.run(None, {"latent": latent[:1], "domain": np.array([domain])})[0][0] for domain in (2, 0, 1)]
    assert difference(together, np.stack(alone)) < 1e-6
    assert difference(together[0], together[1]) > 1e-2


def test_the_interface_is_named_and_dynamic(small: Any) -> None:
    def interface(path: Path) -> dict[str, tuple[str, list[object]]]:
        graph = ir.load(path).graph
        return {
            str(value.name): (value.dtype.name, [dim if isinstance(dim, int) else dim.value for dim in value.shape])
            for value in [*graph.inputs, *graph.outputs]
        }

    assert interface(small.generator) == {
        "image": ("UINT8", ["batch", "height", "width", 3]),
        "style": ("FLOAT", ["styles", 8]),
        "translation": ("UINT8", ["batch", "height", "width", 3]),
    }
    assert interface(small.mapping) == {
        "latent": ("FLOAT", ["batch", 4]), "domain": ("INT64", ["batch"]), "style": ("FLOAT", ["batch", 8]),
    }  # fmt: skip
    assert interface(small.style_encoder) == {
        "image": ("UINT8", ["batch", 32, 32, 3]), "domain": ("INT64", ["batch"]), "style": ("FLOAT", ["batch", 8]),
    }  # fmt: skip


def test_the_frame_graph_is_made_of_few_plain_operators(small: Any) -> None:
    # One halving: from_rgb and to_rgb, six blocks of two convolutions, two of them with a 1x1 shortcut; two norms a
    # block and one in to_rgb.
    counts = Counter(node.op_type for node in ir.load(small.generator).graph)
    assert counts.pop("Conv") == 1 + 1 + 6 * 2 + 2
    assert counts.pop("InstanceNormalization") == counts.pop("LeakyRelu") == 6 * 2 + 1
    assert counts.pop("Gemm") == counts.pop("Split") == counts.pop("Unsqueeze") == 3 * 2
    assert counts.pop("Resize") == counts.pop("AveragePool") == 2
    assert set(counts) <= {"Add", "Mul", "Div", "Sub", "Cast", "Transpose", "Round", "Clip"}


@pytest.mark.parametrize("name", ["generator", "mapping", "style_encoder"])
def test_the_graphs_pass_the_checker_and_tell_nothing_of_the_machine(small: Any, name: str) -> None:
    path: Path = getattr(small, name)
    onnx.checker.check_model(str(path), full_check=True)
    model = ir.load(path)
    assert not any(node.metadata_props or node.doc_string for node in model.graph)
    assert b'File "' not in path.read_bytes()
    assert list(path.parent.glob("*.data")) == []
    assert not any("Constant" in node.op_type or "Shape" in node.op_type for node in model.graph)


def test_weights_keep_their_official_names_and_are_stored_once(small: Any) -> None:
    initializers = ir.load(small.generator).graph.initializers
    official = {name for name, _ in small.networks.generator.named_parameters()}
    assert official <= set(initializers)
    stored = sum(value.const_value.nbytes for value in initializers.values())
    weights = sum(parameter.numel() * 4 for parameter in small.networks.generator.parameters())
    assert stored < weights + 2000  # ones and zeros of the AdaIN norms, shapes and scales


def test_layers_are_named_by_their_place_in_the_network(small: Any) -> None:
    names = {node.name for node in ir.load(small.generator).graph}
    assert {"from_rgb", "encode.0.conv1x1", "decode.2.norm1.fc", "to_rgb.2"} <= names
