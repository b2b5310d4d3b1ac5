from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from starcast.errors import ParityError
from starcast.export.gate.blame import first_layer_apart
from starcast.export.gate.candidates import OnnxCandidate, before_rounding, open_session, translate_with_torch
from starcast.export.gate.parity import (
    TOLERANCE,
    FlatImages,
    check_flat,
    check_generator,
    check_style_graph,
    expected_translations,
    make_trials,
)
from starcast.export.gate.reference import as_bytes
from starcast.runtime.variants import Parity
from starcast.train.families.stargan_v2.networks import Generator


def with_weight(graph: Path, name: str, factor: float, target: Path) -> Path:
    """The graph with the first number of a weight changed."""
    model = ir.load(graph)
    weight = model.graph.initializers[name].const_value.numpy().copy()
    weight.flat[0] = weight.flat[0] * factor + factor
    model.graph.initializers[name].const_value = ir.tensor(weight, name=name)
    ir.save(model, target)
    return target


def changed(generator: Generator, name: str, value: float) -> Generator:
    """The generator with one parameter set to a value everywhere."""
    other = copy.deepcopy(generator)
    torch.nn.init.constant_(other.get_parameter(name), value)
    return other


def judged(small: Any, graph: Path, generator: Generator | None = None) -> Parity:
    """What the gate says of a graph, beside a generator that is the graph's own if none is given."""
    generator = generator or small.networks.generator
    trials = make_trials(small.model)

    def blame(trial: Any) -> str:
        return first_layer_apart(ir.load(graph), generator, trial, TOLERANCE)

    return check_generator(OnnxCandidate(graph), "plain", trials, expected_translations(generator, trials), blame)


def test_a_right_graph_passes_with_its_figures(small: Any) -> None:
    parity = judged(small, small.generator)
    assert parity.worst <= parity.tolerance == 2e-4
    assert parity.levels <= 1
    assert parity.batches == (1, 2, 5, 3)
    assert parity.images == 11


def test_trials_cover_every_domain_one_shared_style_and_two_sizes(small: Any) -> None:
    trials = make_trials(small.model)
    assert [len(trial.styles) for trial in trials] == [1, 2, 5, 1]
    assert {trial.sources.shape[1:3] for trial in trials} == {(32, 32), (16, 24)}
    styles = np.concatenate([trial.styles for trial in trials])
    assert len(np.unique(styles, axis=0)) == 9


@pytest.mark.parametrize("layer", ["from_rgb", "encode.1.conv2", "decode.1.norm2.fc", "to_rgb.2"])
def test_a_graph_with_one_wrong_weight_is_refused_and_the_layer_named(small: Any, layer: str, tmp_path: Path) -> None:
    broken = with_weight(small.generator, f"{layer}.weight", 1.5, tmp_path / "broken.onnx")
    with pytest.raises(ParityError, match=f"first at the layer {layer.replace('.', '[.]')}: nothing is written"):
        judged(small, broken)


def test_a_wrong_step_after_the_last_layer_is_found_too(small: Any, tmp_path: Path) -> None:
    model = ir.load(small.generator)
    clip = next(node for node in model.graph if node.op_type == "Clip")
    clip.replace_input_with(2, next(v for v in model.graph.initializers.values() if v.name == "127.5"))
    ir.save(model, tmp_path / "broken.onnx")
    with pytest.raises(ParityError, match="first at the steps after the last layer"):
        judged(small, tmp_path / "broken.onnx")


def test_wrong_style_graphs_are_refused_by_name(small: Any, tmp_path: Path) -> None:
    of_latents, of_references = small.model.style_graphs()
    mapping = with_weight(small.mapping, "unshared.6.weight", 1.5, tmp_path / "mapping.onnx")
    with pytest.raises(ParityError, match="the graph mapping differs from PyTorch"):
        check_style_graph(mapping, of_latents)
    encoder = with_weight(small.style_encoder, "shared.0.weight", 1.5, tmp_path / "style_encoder.onnx")
    with pytest.raises(ParityError, match="the graph style_encoder differs from PyTorch"):
        check_style_graph(encoder, of_references)


def test_values_that_are_not_finite_are_refused(small: Any) -> None:
    broken = changed(small.networks.generator, "decode.0.conv1.weight", float("nan"))
    with pytest.raises(ParityError, match="not finite"):
        judged(small, small.generator, broken)


def test_a_graph_that_gives_nan_where_pytorch_does_not_is_refused(small: Any, tmp_path: Path) -> None:
    broken = with_weight(small.generator, "decode.0.conv1.bias", float("nan"), tmp_path / "broken.onnx")
    with pytest.raises(ParityError, match="differs from PyTorch by inf"):
        judged(small, broken)


def test_a_constant_image_is_refused_as_untrained(small: Any, tmp_path: Path) -> None:
    flat = changed(small.networks.generator, "to_rgb.2.weight", 0)
    model = ir.load(small.generator)
    zeros = np.zeros((3, small.config.first_channels, 1, 1), np.float32)
    model.graph.initializers["to_rgb.2.weight"].const_value = ir.tensor(zeros, name="to_rgb.2.weight")
    ir.save(model, tmp_path / "flat.onnx")
    with pytest.raises(ParityError, match="untrained or broken"):
        judged(small, tmp_path / "flat.onnx", flat)


def test_the_graph_before_rounding_gives_pytorchs_image_in_levels(small: Any) -> None:
    trial = make_trials(small.model)[1]
    [levels] = open_session(before_rounding(ir.load(small.generator))).run(None, trial.feeds)
    expected = translate_with_torch(small.networks.generator, trial)
    assert levels.dtype == np.float32
    np.testing.assert_allclose(levels / 127.5 - 1, expected, atol=2e-5)


def test_images_of_one_colour_are_measured_apart(small: Any) -> None:
    flat = FlatImages(small.model)
    assert [np.ptp(trial.sources) for trial in flat.trials] == [0, 0, 0, 170, 255, 255, 253, 255]
    shares = [np.unique(trial.sources.reshape(-1, 3), axis=0, return_counts=True)[1].max() for trial in flat.trials[5:]]
    assert min(shares) > 0.75 * 32 * 32  # black bars, a white background, and black around a line
    candidate = OnnxCandidate(small.generator)
    translations = [candidate.translate(trial) for trial in flat.trials]
    assert check_flat("taps9", translations, flat) <= 1
    flat.expected = [image + 3 / 127.5 for image in flat.expected]
    assert check_flat("taps9", translations, flat) >= 2  # PyTorch's own float32 would be that far from float64


def test_a_variant_that_loses_digits_on_images_of_one_colour_is_refused(small: Any) -> None:
    flat = FlatImages(small.model)
    off = [np.clip(as_bytes(image).astype(int) + 2, 0, 255).astype(np.uint8) for image in flat.expected]
    with pytest.raises(ParityError, match="graph taps9 in OpenVINO differs from PyTorch by 2 grey levels on an image"):
        check_flat("taps9 in OpenVINO", off, flat)
