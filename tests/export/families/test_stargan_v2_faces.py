"""A face model's frame graph takes masks, gives PyTorch's numbers as traced and rewritten, and says what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from face_oracles import fill_fan, formula_weights, load_face_oracle
from rtx_compiler import compile_for_rtx

from starcast.errors import CheckpointError, OptionError, ParityError
from starcast.export.families.stargan_v2 import StarGANv2
from starcast.export.families.stargan_v2_faces import (
    HeatmapNetwork,
    MaskNetwork,
    draw_heatmaps,
    fold_coordinates,
    landmark_graph,
    mask_graph,
)
from starcast.export.families.stargan_v2_landmarks import add_landmarks
from starcast.export.gate.candidates import (
    NcnnCandidate,
    OnnxCandidate,
    difference,
    open_session,
    translate_with_torch,
)
from starcast.export.gate.images import draw_images
from starcast.export.gate.parity import check_style_graph, flat_trials, make_trials
from starcast.export.gate.reference import from_bytes, from_levels
from starcast.export.graphs.cost import Cost
from starcast.export.graphs.files import write_graph
from starcast.export.inspect import facts_of
from starcast.export.options import ExportOptions
from starcast.export.plan import PREFERRED, form_for
from starcast.export.precision.samples import drawn_set
from starcast.export.targets.ncnn import write_ncnn
from starcast.export.targets.onnx import make_float32
from starcast.export.targets.tensorrt import make_base, make_in_precision, with_decomposed_norms, without_products
from starcast.export.trace import trace_frame, trace_style_graph
from starcast.images.landmarks import read_landmarks
from starcast.runtime.engines.registry import ENGINES
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v2.faces import PARTS, masks_of
from starcast.train.families.stargan_v2.landmarks import FAN, CoordinateConv, random_fan
from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config, random_networks

CONFIG = StarGANv2Config(
    image_size=64, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=1024, max_channels=32,
    high_pass=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> StarGANv2:
    """A face model whose masks are drawn, because the landmark network would take most of the time."""
    networks = random_networks(CONFIG, seed=3)

    def extras(sources: np.ndarray) -> dict[str, np.ndarray]:
        sides = [length * 256 // CONFIG.image_size for length in sources.shape[1:3]]
        return {"masks": np.random.RandomState(1).rand(len(sources), 2, *sides).astype(np.float32)}

    face = StarGANv2(networks, CONFIG, ("female", "male"))
    face.extras = extras  # type: ignore[method-assign]
    return face


@pytest.fixture(scope="module")
def frame(model: StarGANv2) -> ir.Model:
    return trace_frame(model)


def test_the_frame_graph_takes_image_style_and_masks(frame):
    inputs = {value.name: [str(dim) for dim in value.shape] for value in frame.graph.inputs}
    assert list(inputs) == ["image", "style", "masks"]
    assert inputs["masks"] == ["batch", "2", "masks_height", "masks_width"]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_rewritten_graphs_give_pytorchs_numbers_at_every_size(model, frame, engine):
    graph = make_float32(frame, PREFERRED[engine], 64)
    candidate = OnnxCandidate(graph.frame, graph.product, one_style=graph.plan.one_style)
    assert {step.rewrite.name for step in graph.steps if step.outcome.fired} >= {"pooled-9", "enlarged-9", "byte-range"}
    for trial in make_trials(model):
        expected = translate_with_torch(model.reference, trial)
        got = from_levels(candidate.translate_unrounded(trial).astype(np.float64))
        assert difference(got, expected) < 2e-4


def test_rewrites_save_work(frame):
    assert make_float32(frame, PREFERRED["openvino"], 64).cost.flop < Cost.of(frame, 64).flop / 1.6


def test_ncnns_graph_takes_the_masks_and_gives_pytorchs_numbers_at_every_size(model, frame, tmp_path):
    if ENGINES["ncnn"].absent() is not None:
        pytest.skip("ncnn is not installed")
    graph = make_float32(frame, PREFERRED["ncnn"], 64)
    weights = write_ncnn(graph.frame, tmp_path / "graph.param")
    product = tmp_path / "product.onnx"
    write_graph(graph.product, product, {})
    candidate = NcnnCandidate(tmp_path / "graph.param", weights, product)
    for trial in make_trials(model):
        expected = translate_with_torch(model.reference, trial)
        got = from_levels(candidate.translate_unrounded(trial).astype(np.float64))
        assert difference(got, expected) < 2e-4


def test_no_factor_is_left_on_the_residual_stream_of_a_face_model(frame):
    [outcome] = [
        step.outcome
        for step in make_float32(frame, PREFERRED["openvino"], 64).steps
        if step.rewrite.name == "residual-scale"
    ]
    assert (outcome.fired, outcome.declined) == (5, ())  # one a block of the encoder


# the landmark network


def write(path: Path, *, fan: bool) -> Path:
    networks = random_networks(CONFIG, seed=3)
    if not fan:
        networks = Networks(networks.generator, networks.mapping_network, networks.style_encoder)
    write_checkpoint(path, config=CONFIG, domain_names=("female", "male"), step=1, averaged=networks)
    return path


@pytest.mark.parametrize("fan", [True, False])
def test_inspects_next_command_names_the_landmark_network_that_a_checkpoint_lacks(tmp_path: Path, fan: bool) -> None:
    path = write(tmp_path / "a.pt", fan=fan)
    landmarks = "" if fan else " --landmarks wing.ckpt"
    assert facts_of(path)["next"] == f"starcast export {path}{landmarks} -o BUNDLE"


def test_a_checkpoint_without_a_landmark_network_gets_the_files(tmp_path):
    checkpoint = read_checkpoint(write(tmp_path / "a.pt", fan=False))
    with pytest.raises(CheckpointError, match=r"a.pt has no landmark network \(fan\).*--landmarks wing.ckpt"):
        averaged_networks(checkpoint)
    state = formula_weights(FAN().state_dict(), salt=1)
    torch.save({"state_dict": state}, tmp_path / "wing.ckpt")
    complete = add_landmarks(checkpoint, ExportOptions(landmarks=tmp_path / "wing.ckpt"))
    fan = averaged_networks(complete).fan
    assert all(torch.equal(value, state[name]) for name, value in fan.state_dict().items())


def test_landmarks_for_a_checkpoint_that_has_some_are_refused(tmp_path):
    checkpoint = read_checkpoint(write(tmp_path / "a.pt", fan=True))
    with pytest.raises(OptionError, match="has its own landmark network: leave --landmarks out"):
        add_landmarks(checkpoint, ExportOptions(landmarks=tmp_path / "wing.ckpt"))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_tensorrts_graph_takes_the_masks_gives_pytorchs_numbers_and_compiles(model, frame, tmp_path, precision):
    trials, form = make_trials(model), form_for("taps16", precision)
    base, _ = make_base(frame, form, 64, drawn_set(model).ranges, flat_trials(model))
    candidate = OnnxCandidate(with_decomposed_norms(base.frame.clone(), base, 64).frame)
    for trial in trials:
        expected = translate_with_torch(model.reference, trial)
        assert difference(from_levels(candidate.translate_unrounded(trial).astype(np.float64)), expected) < 2e-4
    graph = make_in_precision(base, replace(PREFERRED["tensorrt"], form=form, precision=precision), 64).frame
    assert [value.name for value in graph.graph.inputs] == ["image", "style", "masks"]
    write_graph(graph, tmp_path / "frame.onnx", {})
    onnx.checker.check_model(str(tmp_path / "frame.onnx"), full_check=True)
    batches = 1, 2, 4
    compile_for_rtx(
        tmp_path / "frame.onnx",
        {
            "image": tuple((batch, 64, 64, 3) for batch in batches), "style": tuple((batch, 4) for batch in batches),
            "masks": tuple((batch, 2, 256, 256) for batch in batches),
        },
    )  # fmt: skip


def test_tensorrts_compiler_takes_the_masks_arithmetic(masks_graph, tmp_path):
    graph = ir.load(masks_graph)
    without_products(graph)
    write_graph(graph, tmp_path / "masks.onnx", {})
    compile_for_rtx(tmp_path / "masks.onnx", {"heatmaps": ((1, 98, 64, 64),) * 3})


# the graphs that make masks of a source


@pytest.fixture(scope="module")
def masks_graph(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("masks") / "masks.onnx"
    write_graph(trace_style_graph(mask_graph()), path, {})
    return path


def test_the_masks_graph_gives_pytorchs_masks_and_none_of_its_values_is_left_out(masks_graph):
    assert check_style_graph(masks_graph, mask_graph()) < 1e-5


def with_constant(path: Path, name: str, value: float, out: Path) -> Path:
    model = ir.load(path)
    tensor = ir.tensor(np.float32(value), name=name)
    model.graph.initializers[name].const_value = tensor
    ir.save(model, out)
    return out


def test_a_masks_graph_with_another_floor_is_refused(masks_graph, tmp_path):
    """A floor moved by 0.01 % changes one value in 10,000."""
    wrong = with_constant(masks_graph, "0.1", 0.10001, tmp_path / "masks.onnx")
    with pytest.raises(ParityError, match="the graph masks differs from PyTorch"):
        check_style_graph(wrong, mask_graph())


def test_the_landmark_network_with_its_coordinates_as_constant_maps_gives_the_same_heatmaps():
    network = random_fan(torch.Generator().manual_seed(1))
    images = torch.from_numpy(draw_images(1, 256, 256, seed=1))
    with torch.inference_mode():
        expected, got = HeatmapNetwork(network)(images), HeatmapNetwork(fold_coordinates(network))(images)
        assert difference(got.numpy(), expected.numpy()) < 1e-5
        assert difference(network(torch.zeros(1, 3, 256, 256)).numpy(), expected.numpy()) > 1e-3
    assert [type(part) for part in (network.conv1, network.m0.coordconv)] == [CoordinateConv, CoordinateConv]


@torch.inference_mode()
def test_masks_in_the_engines_order_are_the_masks_of_maps_that_are_flat_or_never_below_the_floor():
    heatmaps = torch.zeros(3, 98, 64, 64)
    heatmaps[1] = 0.3 + 0.5 * torch.rand(98, 64, 64, generator=torch.Generator().manual_seed(1))
    heatmaps[2] = 0.7
    heatmaps[2, :, 10:20, 10:20] = -3
    assert difference(MaskNetwork()(heatmaps).numpy(), masks_of(heatmaps).numpy()) < 1e-5


def test_drawn_heatmaps_have_peaks_below_the_floor_and_above_in_every_part():
    peaks = draw_heatmaps(3).max(axis=(2, 3))
    assert (peaks < 0.1).any()
    assert all((peaks[:, part.first : part.last + 1] > 0.5).any() for part in PARTS)


@pytest.mark.slow  # the tracer takes its time for the whole network
@torch.inference_mode()
def test_the_landmark_graph_finds_the_originals_landmarks(tmp_path):
    oracle = load_face_oracle("fan.npz")
    network = FAN()
    fill_fan(network)
    graph = landmark_graph(network, oracle["image_u8"])
    write_graph(trace_style_graph(graph), tmp_path / "landmarks.onnx", {})
    session = open_session(tmp_path / "landmarks.onnx")
    heatmaps = session.run(None, {"image": oracle["image_u8"]})[0]
    expected = oracle["heatmaps_every7"]
    assert difference(heatmaps[:, ::7], expected) < 2e-4
    apart = np.abs(read_landmarks(heatmaps, 256, 256) - oracle["landmarks"])
    assert (apart > 0).mean() <= 0.01  # two neighbours of a peak may be equal
    assert apart.max() <= 2
    larger = oracle["image_u8"].repeat(2, axis=1).repeat(2, axis=2)
    of_larger = network(from_bytes(torch.from_numpy(larger))).numpy()
    assert difference(session.run(None, {"image": larger})[0], of_larger) < 2e-4
