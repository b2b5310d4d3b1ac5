"""ncnn's backend on a graph of four layers: translation = image + gamma_beta, a number a channel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ncnn_addition import ADDITION

from starcast.errors import EngineError, MissingExtraError
from starcast.runtime.engines.base import NOT_INSTALLED, EngineOptions, Graph
from starcast.runtime.engines.ncnn_graph import read_graph
from starcast.runtime.engines.ncnn_layers import NcnnGraphError
from starcast.runtime.engines.registry import ENGINES

WITH_WEIGHTS = """7767517
3 3
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=3
Convolution translation 1 1 image translation 0=3 1=1 5=0 6=9
"""


@pytest.fixture(params=["ncnn", "ncnn-vulkan"])
def backend(request):
    reason = ENGINES[request.param].absent()
    if reason is not None:
        pytest.skip(f"{request.param} is {reason}")
    return ENGINES[request.param]


def graph_of(file: Path) -> Graph:
    return Graph(file, weights=(file.with_suffix(".bin"),))


def written(folder: Path, param: str = ADDITION, weights: bytes = b"") -> Path:
    (folder / "graph.param").write_text(param, encoding="utf-8")
    (folder / "graph.bin").write_bytes(weights)
    return folder / "graph.param"


def levels(*rows: int) -> np.ndarray:
    """Pictures of 2x4 pixels, each grey as told."""
    return np.array(rows, np.uint8)[:, None, None, None].repeat(2, 1).repeat(4, 2).repeat(3, 3)


def test_images_are_rounded_half_to_even_and_clipped(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    shifts = np.array([[0.5, -10.0, 250.25]], np.float32)
    got = session.run({"image": levels(0, 1, 2, 9), "gamma_beta": shifts})
    assert got.dtype == np.uint8
    assert got.shape == (4, 2, 4, 3)
    assert got[:, 0, 0].tolist() == [[0, 0, 250], [2, 0, 251], [2, 0, 252], [10, 0, 255]]
    assert (got == got[:, :1, :1]).all()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes UTF-8 alone")
def test_a_graph_with_a_path_that_is_not_utf_8_runs(backend, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    session = backend.open(graph_of(written(folder)), EngineOptions(threads=1))
    got = session.run({"image": levels(1), "gamma_beta": np.array([[1, 2, 3]], np.float32)})
    assert got[0, 0, 0].tolist() == [2, 3, 4]


def test_each_image_gets_its_own_style_or_all_the_same(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    own = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    assert session.run({"image": levels(10, 20), "gamma_beta": own})[:, 0, 0].tolist() == [[11, 12, 13], [24, 25, 26]]
    got = session.run({"image": levels(10, 20), "gamma_beta": own[:1]})
    assert got[:, 0, 0].tolist() == [[11, 12, 13], [21, 22, 23]]


def test_any_size_of_any_layout_runs(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    noise = np.random.RandomState(0).randint(0, 200, (2, 6, 14, 3)).astype(np.uint8)
    shifts = np.array([[7, 8, 9]], np.float32)
    for images in (noise, noise[:, ::2, ::2], noise.transpose(0, 2, 1, 3), noise[:, :, ::-1]):
        got = session.run({"image": images, "gamma_beta": shifts})
        np.testing.assert_array_equal(got, images + np.array([7, 8, 9], np.uint8))


def test_an_output_is_the_callers_own(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    feeds = {"image": levels(10), "gamma_beta": np.ones((1, 3), np.float32)}
    first, unrounded = session.run(feeds), session.unrounded(feeds)
    session.run({**feeds, "image": levels(90)})
    assert (first == 11).all()
    assert (unrounded == 11).all()
    first[:] = 0
    assert (session.run(feeds) == 11).all()
    session.close()
    session.close()
    with pytest.raises(EngineError, match="has been closed: open it again"):
        session.run(feeds)


def test_what_is_before_the_rounding_can_be_had(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    got = session.unrounded({"image": levels(250), "gamma_beta": np.array([[0.25, 10, -300]], np.float32)})
    assert got.shape == (1, 3, 2, 4)
    assert got[0, :, 0, 0].tolist() == [250.25, 260, -50]


def test_the_graphs_that_make_styles_run_beside_it(backend, tiny_bundle, tiny_model):
    latent = np.arange(4, dtype=np.float32)
    session = backend.open(Graph(tiny_bundle / "mapping.onnx"), EngineOptions(threads=1))
    [style] = session.run({"latent": latent[None], "domain": np.array([1])})
    np.testing.assert_allclose(style, tiny_model.latent_style(latent, 1), rtol=1e-6)


def test_where_no_engine_makes_styles_a_sentence_says_what_to_install(backend, tiny_bundle, monkeypatch):
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setattr(type(ENGINES[name]), "absent", lambda _: NOT_INSTALLED)
    with pytest.raises(MissingExtraError, match=r"style_encoder\.onnx makes styles.*pip install 'starcast\[cpu\]'"):
        backend.open(Graph(tiny_bundle / "style_encoder.onnx"), EngineOptions(threads=1))


@pytest.mark.parametrize(("param", "weights", "file"), [
    ("", b"", "graph.param"),
    ("nonsense\n", b"", "graph.param"),
    (ADDITION.replace("7767517", "7767518"), b"", "graph.param"),
    (ADDITION.replace("Reshape", "Rotate"), b"", "graph.param"),
    (WITH_WEIGHTS, b"", "graph.bin"),
    (WITH_WEIGHTS, bytes(20), "graph.bin"),
], ids=["empty", "text", "another format", "unknown layer", "no weights", "cut weights"])  # fmt: skip
def test_a_file_that_is_no_graph_is_an_engine_error_of_one_sentence(backend, tmp_path, param, weights, file):
    with pytest.raises(EngineError, match=rf"{file} is refused by ncnn .*export the bundle again") as caught:
        backend.open(graph_of(written(tmp_path, param, weights)), EngineOptions(threads=1))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_an_engine_error(backend, tmp_path):
    file = written(tmp_path, WITH_WEIGHTS)
    file.with_suffix(".bin").unlink()
    with pytest.raises(EngineError, match=r"graph\.bin is refused"):
        backend.open(graph_of(file), EngineOptions(threads=1))


@pytest.mark.parametrize(("channels", "conditions"), [(3, 0), (3, 4), (1, 3)])
def test_inputs_that_do_not_fit_are_an_engine_error(backend, tmp_path, channels, conditions):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1))
    takes = r"\[\?, \?, \?, 3\]" if channels == 1 else r"\[\?, 3\]"
    with pytest.raises(EngineError, match=rf"cannot run .*graph\.param with .*it takes {takes}") as caught:
        session.run({"image": levels(1)[..., :channels], "gamma_beta": np.zeros((1, conditions), np.float32)})
    assert len(str(caught.value).splitlines()) == 1


def test_a_graph_without_scales_and_shifts_is_an_engine_error(backend, tmp_path):
    file = written(tmp_path, "7767517\n2 2\nInput image 0 1 image\nReLU translation 1 1 image translation\n")
    with pytest.raises(EngineError, match="not a frame graph"):
        backend.open(graph_of(file), EngineOptions(threads=1))


def test_it_calculates_in_float32_on_the_threads_it_is_given_and_they_do_not_spin(backend):
    net = __import__("ncnn").Net()
    backend._configure(net, EngineOptions(threads=1))
    assert net.opt.num_threads == 1
    assert net.opt.openmp_blocktime == 0
    assert net.opt.use_winograd_convolution
    assert net.opt.use_packing_layout
    assert net.opt.lightmode
    assert not any((net.opt.use_fp16_storage, net.opt.use_fp16_arithmetic, net.opt.use_bf16_storage))


def test_opening_it_leaves_the_environment_as_it_was(backend):
    code = """
import os
from starcast.runtime.engines.ncnn import engine
engine()
print(os.environ.get("OMP_WAIT_POLICY"))
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for policy in (None, "active"):
        told = environment if policy is None else {**environment, "OMP_WAIT_POLICY": policy}
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told)
        assert result.stdout.strip() == str(policy)


def test_a_gpu_is_named_or_its_absence_explained():
    vulkan = ENGINES["ncnn-vulkan"]
    if vulkan.absent() is None:
        assert all(vulkan.devices(b""))
    else:
        assert "not installed" in vulkan.absent().reason or "Vulkan driver" in vulkan.absent().reason


CONVOLUTION = """7767517
4 5
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=6
Slice parts 1 2 gamma_beta scales shifts -23300=2,3,3 1=0
Convolution translation 1 1 image translation 0=3 1=3 11=3 4=1 5=1 6=81
"""
WEIGHTS = bytes(4 * (1 + 81 + 3))


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("4 5", "2147483647 5", "it has 4 layers and 5 blobs, and says otherwise"),
    ("4 5", "4 2147483647", "it has 4 layers and 5 blobs, and says otherwise"),
    ("4 5", "-4 5", "it has 4 layers and 5 blobs, and says otherwise"),
    ("0 1 image", "0 2000000000 image", "the line 'Input image 0 2000000000 image' is not a layer"),
    ("-23300=2,", "-23300=2147483647,", "is not a layer"),
    ("6=81", "6=2147483647", "it has 340 bytes instead of 8589934604"),
    ("translation 0=3", "translation 0=2000000000", "it has 340 bytes instead of 8000000328"),
    ("5=1 6=81", "5=1 6=nan", "is not a layer"),
    # ncnn reads these as other numbers or words than Python
    ("translation 0=3", "translation 0=3.0", "has the parameter 0=3.0"),
    ("translation 0=3", "translation 0=2e9", "is not a layer"),
    ("6=81", "6=8_1", "is not a layer"),
    ("6=81", "6=00000000081", "is not a layer"),
    ("6=81", "6=4294967377", "is not a layer"),
    ("=2,3,3", "=2,3.0,3", "is not a layer"),
    ("5=1 6=81", "5=1 6=81 6=81", "is not a layer"),
    ("parts 1 2", "parts 1_0 2", "is not a layer"),
    ("Slice parts", "Slice\u00a0parts", "it is not plain text"),
    ("Slice parts", "Slice\x1fparts", "it is not plain text"),
    ("scales shifts", f"scales {'s' * 256}", "is not a layer"),
    ("4=1", "7=2", "has the parameter 7, which this starcast does not know"),
    ("Slice parts", "MemoryData parts", "has the layer MemoryData, which this starcast does not know"),
])  # fmt: skip
def test_counts_that_nothing_stands_behind_are_refused_before_ncnn_reads_them(backend, tmp_path, old, new, reason):
    assert old in CONVOLUTION
    file = written(tmp_path, CONVOLUTION.replace(old, new, 1), WEIGHTS)
    with pytest.raises(EngineError, match=r"graph\.(param|bin) is refused by ncnn") as caught:
        backend.open(graph_of(file), EngineOptions(threads=1))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("=2,3,3", "=2,3,1000000", "parts cuts 1000003 of 6 channels"),
    ("=2,3,3", "=2,-5,11", "the outputs of parts do not fit its input"),
    ("1=3 11=3", "1=9 11=1", "the outputs of translation do not fit its input"),
    ("4=1", "4=2000000", "translation has a padding of 4000000"),
    ("4=1", "3=0", "translation has a window of 3, 1, 0"),
    ("1 1 image translation", "1 1 image image2", "it makes no map called translation"),
    ("1 1 image translation 0=3 1=3 11=3 4=1 5=1 6=81",
     "2 1 image scales translation 0=0", "the operands of translation have the shapes"),
    ("Convolution translation 1 1 image translation 0=3 1=3 11=3 4=1 5=1 6=81",
     "Interp translation 1 1 image translation 0=1 1=100000.0 2=2.0", "translation resizes by 100000 and 2"),
    ("Convolution translation 1 1 image translation 0=3 1=3 11=3 4=1 5=1 6=81",
     "InstanceNorm translation 1 1 image translation 0=0 2=0\n", None),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_an_error_and_not_the_end_of_the_process(tmp_path, old, new, reason):
    assert old in CONVOLUTION
    text = CONVOLUTION.replace(old, new, 1)
    if "2 1 image" in new:
        text = text.replace("Convolution", "BinaryOp")
    (tmp_path / "graph.param").write_text(text)
    graph = read_graph(tmp_path / "graph.param")
    if reason is None:
        assert graph.largest_blobs(8, 4) == 4 * 2 * 3 * 8 * 4
        return
    with pytest.raises(NcnnGraphError, match=re.escape(reason)):
        graph.largest_blobs(8, 4)


def test_shapes_are_checked_before_ncnn_runs(backend, tmp_path):
    file = written(tmp_path, CONVOLUTION.replace("=2,3,3", "=2,3,1000000"), WEIGHTS)
    session = backend.open(graph_of(file), EngineOptions(threads=1))
    with pytest.raises(EngineError, match=r"ncnn cannot run .*graph\.param on an image of 4x2 \(parts cuts"):
        session.run({"image": levels(1), "gamma_beta": np.zeros((1, 6), np.float32)})


PLANES = """7767517
8 9
Input image 0 1 image
Input style 0 1 style 0=4
Reshape column 1 1 style column 0=1 1=1 2=-1
Split image.copies 1 2 image image.copy0 image.copy1
Crop first 1 1 image.copy0 first -23309=1,0 -23310=1,1 -23311=1,0
BinaryOp planes 2 1 column first planes 0=0
Concat joined 2 1 image.copy1 planes joined 0=0
Crop translation 1 1 joined translation -23309=1,4 -23310=1,-233 -23311=1,0
"""


def test_a_graph_may_take_a_style_and_join_it_to_the_image_as_planes(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path, PLANES)), EngineOptions(threads=1))
    assert session.inputs() == {"image": (None, None, None, 3), "style": (None, 4)}
    [made] = session.unrounded({"image": levels(5), "style": np.array([[1, 2, 3, 4]], np.float32)})
    assert made[:, 0, 0].tolist() == [7, 8, 9]  # the image has 3 channels, so channel 4 is the style's second


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("first -23309=1,0 -23310=1,1", "first -23309=1,2 -23310=1,4", "first takes 2 to 4 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,-1 -23310=1,1", "first takes 2 to 1 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,-4 -23310=1,1", "first takes -1 to 1 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,-233 -23310=1,1", "first takes -233 to 1 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,0 -23310=1,-3", "first takes 0 to 0 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,0 -23310=1,-9", "first takes 0 to -6 of 3"),
    ("first -23309=1,0 -23310=1,1", "first -23309=1,1 -23310=1,1", "first takes 1 to 1 of 3"),
    ("-23311=1,0\nBinaryOp", "-23311=1,3\nBinaryOp", "first cuts axis 3 of a blob of 3"),
    ("-23311=1,0\nBinaryOp", "-23311=2,0,1\nBinaryOp", "first does not say which part to take"),
    ("-23309=1,0 -23310=1,1 -23311=1,0\nBinaryOp", "-23309=2,1,0 -23310=2,3,-233 -23311=2,0,0\nBinaryOp",
     "first cuts an axis twice"),
    ("first -23309=1,0 ", "first -23309=1,inf ", "is not a layer"),
    ("Reshape column 1 1 style column", "Reshape image 1 1 style image", "image writes a blob that already exists"),
    ("joined 0=0", "joined 0=1", "joined joins blobs of the shapes [3, 8, 4] and [4, 8, 4]"),
    ("-23311=1,0\nBinaryOp", "-23311=1,1\nBinaryOp", "the operands of planes have the shapes [4, 1, 1] and [3, 1, 4]"),
])  # fmt: skip
def test_ranges_and_joins_that_do_not_fit_raise_instead_of_crashing(tmp_path, old, new, reason):
    assert old in PLANES
    (tmp_path / "graph.param").write_text(PLANES.replace(old, new, 1))
    with pytest.raises(NcnnGraphError, match=re.escape(reason)):
        read_graph(tmp_path / "graph.param").largest_blobs(8, 4)


COMPUTED = """7767517
6 6
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=384
Reshape weight 1 1 gamma_beta weight 0=2 1=4 11=12 2=4
Reorg gathered 1 1 image gathered 0=2 1=1
Convolution made 2 1 gathered weight made 0=4 1=2 11=4 4=1 15=0 14=1 16=2 5=0 6=0 19=1
PixelShuffle translation 1 1 made translation 0=2
"""


def test_a_convolution_may_read_its_weight(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path, COMPUTED)), EngineOptions(threads=1))
    ones = {"image": np.ones((1, 8, 4, 3), np.uint8), "gamma_beta": np.ones((1, 384), np.float32)}
    [made] = session.unrounded(ones)
    assert made.shape == (1, 8, 4)
    assert made[0, 2, 2] == 12 * 2 * 4  # the whole kernel lies inside the map
    assert made[0, 4, 2] == 12 * 2 * 3  # a row lies below it


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("0=384", "0=385", "weight makes a weight of [4, 12, 4, 2] from 385 numbers"),
    ("0=2 1=4 11=12 2=4", "0=-2 1=-4 11=12 2=4", "weight makes a weight of [4, 12, -4, -2] from 384 numbers"),
    ("0=2 1=4 11=12 2=4", "0=2 1=4 11=6 2=8", "made has a weight of [8, 6, 4, 2] for a map of [12, 4, 2]"),
    ("0=2 1=4 11=12 2=4", "0=4 1=2 11=12 2=4", "made has a weight of [4, 12, 2, 4], and its parameters say otherwise"),
    ("0=2 1=4 11=12 2=4", "0=1 1=1 2=-1", "made has a weight of [384, 1, 1] for a map of"),
    ("5=0 6=0", "5=0 6=96", "made has a weight of [4, 12, 4, 2], and its parameters say otherwise"),
    ("5=0 6=0", "5=1 6=0", "made has a weight of [4, 12, 4, 2], and its parameters say otherwise"),
    (" 19=1", "", "made reads 2 blobs"),
    ("made 2 1 gathered weight made", "made 1 1 gathered made", "made reads 1 blobs"),
    ("gathered weight made", "weight gathered made", "made has a weight of [12, 4, 2] for a map of [4, 12, 4, 2]"),
    ("Reorg gathered 1 1 image gathered 0=2 1=1", "ReLU gathered 1 1 weight gathered",
     "gathered reads the weight of a convolution"),
    ("gathered 0=2", "gathered 0=3", "gathered gathers squares of 3 px from a map of [3, 8, 4]"),
    ("gathered 0=2", "gathered 0=-2", "gathered gathers squares of -2 px"),
    ("gathered 0=2", "gathered 0=0", "gathered gathers squares of 0 px"),
    ("translation 0=2", "translation 0=3", "translation spreads a map of [4, 4, 2] to squares of 3 px"),
    ("translation 0=2", "translation 0=0", "translation spreads a map of [4, 4, 2] to squares of 0 px"),
])  # fmt: skip
def test_weights_and_squares_that_do_not_fit_raise_instead_of_crashing(tmp_path, old, new, reason):
    assert old in COMPUTED
    (tmp_path / "graph.param").write_text(COMPUTED.replace(old, new, 1))
    with pytest.raises(NcnnGraphError, match=re.escape(reason)):
        read_graph(tmp_path / "graph.param").largest_blobs(8, 4)


SOURCELESS = """7767517
13 15
Input gamma_beta 0 1 gamma_beta 0=14
Input noise_0 0 1 noise_0 0=4 1=2 2=1
Slice parts 1 2 gamma_beta start scales -23300=2,12,2 1=0
Reshape maps 1 1 start maps 0=3 1=2 2=-1
Reshape column 1 1 scales column 0=1 1=1 2=-1
BinaryOp scaled 2 1 maps column scaled 0=2
Padding padded 1 1 scaled padded 0=0 1=0 2=0 3=1 4=1
ConvolutionDepthWise smooth 1 1 padded smooth 0=2 1=1 11=1 5=0 6=2 7=2
Split copies 1 2 smooth smooth.0 smooth.1
BinaryOp noisy 2 1 smooth.0 noise_0 noisy 0=0
DeconvolutionDepthWise spread 1 1 smooth.1 spread 0=2 1=1 11=1 3=2 13=2 18=1 19=1 5=0 6=2 7=2
Interp enlarged 1 1 noisy enlarged 0=2 1=2.0 2=2.0
Concat translation 2 1 enlarged spread translation 0=0
"""
SOURCELESS_WEIGHTS = np.array([0, 1, 10, 0, 1, 1], "<f4").tobytes()  # a header of 0 before each filter


def sourceless_feeds(count: int = 2) -> dict[str, np.ndarray]:
    draws = np.random.RandomState(0)
    return {
        "gamma_beta": draws.standard_normal((count, 14)).astype(np.float32),
        "noise_0": draws.standard_normal((1, 1, 2, 4)).astype(np.float32),
    }


def test_a_graph_may_take_a_vector_and_noise_instead_of_an_image(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path, SOURCELESS, SOURCELESS_WEIGHTS)), EngineOptions(threads=1))
    assert session.inputs() == {"gamma_beta": (None, 14), "noise_0": (None, 1, 2, 4)}
    feeds = sourceless_feeds()
    got = session.unrounded(feeds)
    assert got.shape == (2, 4, 4, 8)
    start, scales = feeds["gamma_beta"][:, :12].reshape(2, 2, 2, 3), feeds["gamma_beta"][:, 12:, None, None]
    smooth = np.pad(start * scales, ((0, 0), (0, 0), (0, 0), (0, 1)), "edge") * np.array([1, 10])[:, None, None]
    np.testing.assert_allclose(got[:, 2:, ::2, ::2], smooth, rtol=1e-5)
    assert not got[:, 2:, 1::2].any()
    assert not got[:, 2:, :, 1::2].any()
    np.testing.assert_allclose(got[:, :2, 0, 0], (smooth + feeds["noise_0"])[:, :, 0, 0], rtol=1e-5)  # of the corner
    own = np.concatenate([feeds["noise_0"], 2 * feeds["noise_0"]])
    each = [(feeds["gamma_beta"][n : n + 1], own[n : n + 1]) for n in (0, 1)]
    alone = [session.unrounded({"gamma_beta": scales, "noise_0": noise}) for scales, noise in each]
    np.testing.assert_array_equal(session.unrounded({**feeds, "noise_0": own}), np.concatenate(alone))
    assert session.run(feeds).shape == (2, 4, 8, 4)


def test_noise_that_is_missing_or_has_other_sides_is_an_engine_error(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path, SOURCELESS, SOURCELESS_WEIGHTS)), EngineOptions(threads=1))
    feeds = sourceless_feeds()
    for noise in ({}, {"noise_0": feeds["noise_0"][..., 1:]}, {"noise_0": feeds["noise_0"][:, 0]}):
        with pytest.raises(EngineError, match=r"with noise_0 of the shape .* \(it takes \[\?, 1, 2, 4\]\)"):
            session.run({"gamma_beta": feeds["gamma_beta"], **noise})


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("0=4 1=2 2=1", "0=4 1=2 2=2", "noise_0 is neither a vector nor a plane"),
    ("0=4 1=2 2=1", "0=4 1=-2 2=1", "noise_0 is neither a vector nor a plane"),
    ("0=4 1=2 2=1", "0=3 1=2 2=1", "the operands of noisy have the shapes [2, 2, 4] and [1, 2, 3]"),
    ("0=4 1=2 2=1", "0=100000 1=100000 2=1", "the outputs of noise_0 are too large for ncnn"),
    ("Input noise_0 0 1 noise_0 0=4", "Input noise_0 1 1 gamma_beta noise_0 0=4", "is an input and reads 1 blobs"),
    ("maps 0=3 1=2", "maps 0=5 1=2", "maps cannot make maps of 5x2 from 12 numbers"),
    ("maps 0=3 1=2", "maps 0=0 1=2", "maps cannot make maps of 0x2 from 12 numbers"),
    ("maps 0=3 1=2 2=-1", "maps 0=3 1=2 2=4", "maps cannot make maps of 3x2 from 12 numbers"),
    ("3=1 4=1", "3=1 4=2", "padded is neither a border of zeros nor of the outermost pixels"),
    ("3=1 4=1", "3=-1 4=1", "padded has a border of 0, 0, 0, -1"),
    ("3=1 4=1", "3=2000000 4=1", "padded has a border of 0, 0, 0, 2000000"),
    ("smooth 0=2 1=1 11=1 5=0 6=2 7=2", "smooth 0=2 1=1 11=1 5=0 6=2 7=1", "smooth has 1 groups and 2 filters for 2"),
    ("smooth 0=2 1=1 11=1 5=0 6=2 7=2", "smooth 0=2 1=1 11=2 5=0 6=2 7=2", "smooth has 2 weights instead of 4"),
    ("18=1", "18=2", "spread adds 2 columns and 1 rows"),
    ("18=1", "18=-1", "spread adds -1 columns and 1 rows"),
    ("enlarged 0=2", "enlarged 0=3", "enlarged neither repeats pixels nor interpolates"),
    ("1=2.0 2=2.0", "1=2.0 2=1.0", "translation joins blobs of the shapes [2, 4, 4] and [2, 4, 8]"),
    ("translation 0=0", "translation 0=3", "translation joins blobs of the shapes"),
    ("translation 0=0", "translation 0=-1", "translation joins blobs of the shapes"),
])  # fmt: skip
def test_a_graph_without_an_image_is_checked_when_it_is_opened(backend, tmp_path, old, new, reason):
    assert old in SOURCELESS
    file = written(tmp_path, SOURCELESS.replace(old, new, 1), SOURCELESS_WEIGHTS)
    with pytest.raises(EngineError, match=r"graph\.param is refused by ncnn") as caught:
        backend.open(graph_of(file), EngineOptions(threads=1))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("times", "reason"), [
    (4, "it takes 2.0 GiB of memory, and 1.0 may be used"),  # two blobs [2, 8192, 16384]
    (6, "are too large for ncnn"),
])  # fmt: skip
def test_enlargements_that_exhaust_the_memory_are_refused_when_a_graph_is_opened(backend, tmp_path, times, reason):
    last = "smooth.1"
    chain = []
    for number in range(times):
        chain.append(f"Interp e{number} 1 1 {last} e{number} 0=1 1=8.0 2=8.0")
        last = f"e{number}"
    head = SOURCELESS[: SOURCELESS.index("BinaryOp noisy")].splitlines()[2:]
    lines = [*head, *chain, f"Concat translation 1 1 {last} translation 0=0"]
    text = "\n".join(["7767517", f"{len(lines)} {sum(int(line.split()[3]) for line in lines)}", *lines]) + "\n"
    file = written(tmp_path, text, SOURCELESS_WEIGHTS[:12])
    with pytest.raises(EngineError, match=r"graph\.param is refused by ncnn") as caught:
        backend.open(graph_of(file), EngineOptions(threads=1, memory=2**30))
    assert reason in str(caught.value)


def test_an_image_whose_maps_exhaust_the_memory_is_an_engine_error(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path)), EngineOptions(threads=1, memory=100))
    with pytest.raises(EngineError, match=r"graph\.param on an image of 4x2 \(it takes 0\.0 GiB of memory"):
        session.run({"image": levels(1), "gamma_beta": np.ones((1, 3), np.float32)})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_a_word_of_the_text_is_an_error_or_a_graph(tmp_path, data):
    words = re.split(r"(\s+|=|,)", data.draw(st.sampled_from([CONVOLUTION, PLANES, COMPUTED])))

    words = re.split(r"(\s+|=|,)", data.draw(st.sampled_from([CONVOLUTION, SOURCELESS])))
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(st.one_of(st.integers(-(2**33), 2**33).map(str), st.sampled_from(words), st.text()))
    (tmp_path / "graph.param").write_text("".join(words), encoding="utf-8", errors="replace")
    try:
        graph = read_graph(tmp_path / "graph.param")
        assert graph.weight_bytes < 2**80
        assert graph.largest_blobs(8, 4) < 2**40
    except NcnnGraphError:
        pass


MASKED = """7767517
8 8
Input image 0 1 image 0=8 1=8 2=3
Input gamma_beta 0 1 gamma_beta 0=3
Input masks 0 1 masks 0=16 1=16 2=2
Reshape column 1 1 gamma_beta column 0=1 1=1 2=-1
Crop second 1 1 masks second -23309=1,1 -23310=1,2 -23311=1,0
Pooling small 1 1 second small 0=1 1=2 11=2 2=2 12=2 5=1
BinaryOp kept 2 1 small image kept 0=2
BinaryOp translation 2 1 kept column translation 0=2
"""


def masked_feeds(height: int, width: int) -> dict[str, np.ndarray]:
    draws = np.random.RandomState(1)
    return {
        "image": draws.randint(0, 256, (2, height, width, 3)).astype(np.uint8),
        "gamma_beta": draws.rand(2, 3).astype(np.float32),
        "masks": draws.rand(2, 2, 2 * height, 2 * width).astype(np.float32),
    }


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 24), (5, 3)])
def test_maps_beside_the_image_grow_with_it(backend, tmp_path, height, width):
    session = backend.open(graph_of(written(tmp_path, MASKED, b"")), EngineOptions(threads=1))
    assert session.inputs()["masks"] == (None, 2, None, None)
    feeds = masked_feeds(height, width)
    small = feeds["masks"][:, 1:].reshape(2, 1, height, 2, width, 2).mean(axis=(3, 5))
    expected = small * feeds["image"].transpose(0, 3, 1, 2) * feeds["gamma_beta"][:, :, None, None]
    np.testing.assert_allclose(session.unrounded(feeds), expected, rtol=1e-5, atol=1e-4)


def test_maps_that_do_not_grow_with_the_image_are_an_engine_error(backend, tmp_path):
    session = backend.open(graph_of(written(tmp_path, MASKED, b"")), EngineOptions(threads=1))
    feeds = masked_feeds(8, 24)
    shapes = [(2, 2, 16, 16), (2, 2, 16, 47), (2, 3, 16, 48), (2, 16, 48)]
    for masks in (*({"masks": np.ones(shape, np.float32)} for shape in shapes), {}):
        with pytest.raises(EngineError, match="with masks of the shape"):
            session.run({"image": feeds["image"], "gamma_beta": feeds["gamma_beta"], **masks})


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("0=8 1=8 2=3", "0=8 1=8 2=4", "image is no RGB image"),
    ("0=8 1=8 2=3", "0=8", "image is no RGB image"),
    ("0=8 1=8 2=3", "0=0 1=8 2=3", "image is neither a vector nor a plane"),
    (" 0=8 1=8 2=3", "", "masks is neither a vector nor a plane"),
    ("0=16 1=16 2=2", "0=16 1=16 2=1", "second takes 1 to 2 of 1"),
    ("0=16 1=16 2=2", "0=16 1=0 2=2", "masks is neither a vector nor a plane"),
])  # fmt: skip
def test_maps_beside_the_image_that_the_text_states_wrongly_raise_instead_of_crashing(tmp_path, old, new, reason):
    assert old in MASKED
    (tmp_path / "graph.param").write_text(MASKED.replace(old, new, 1))
    with pytest.raises(NcnnGraphError, match=re.escape(reason)):
        read_graph(tmp_path / "graph.param").largest_blobs(8, 8)


def test_maps_of_another_ratio_than_the_graphs_raise_instead_of_crashing(tmp_path):
    (tmp_path / "graph.param").write_text(MASKED.replace("0=16 1=16 2=2", "0=16 1=24 2=2"))
    with pytest.raises(
        NcnnGraphError, match=re.escape("the operands of kept have the shapes [1, 12, 8] and [3, 8, 8]")
    ):
        read_graph(tmp_path / "graph.param").largest_blobs(8, 8)


@pytest.mark.parametrize("channels", [16, 32])
def test_convolutions_of_few_channels_lose_no_more_digits_than_others(backend, tmp_path, channels):
    """By tiles of 6x6 outputs, an output is off by up to 2e-5 of its standard deviation; by those of 4x4, by 4e-6."""
    draws = np.random.RandomState(0)
    spread = draws.standard_normal((channels, 3)).astype(np.float32)
    kernel = (draws.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)).astype(np.float32)
    text = f"""7767517
4 4
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=3
Convolution spread 1 1 image spread 0={channels} 1=1 5=0 6={spread.size}
Convolution translation 1 1 spread translation 0={channels} 1=3 4=1 5=0 6={kernel.size}
"""
    file = written(tmp_path, text, bytes(4) + spread.tobytes() + bytes(4) + kernel.tobytes())
    session = backend.open(graph_of(file), EngineOptions(threads=1))
    image = draws.randint(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    [got] = session.unrounded({"image": image, "gamma_beta": np.ones((1, 3), np.float32)})
    maps = np.pad(np.tensordot(spread.astype(float), image[0].astype(float), (1, 2)), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), (1, 2))
    expected = np.einsum("ochw,cyxhw->oyx", kernel.astype(float), windows, optimize=True)
    assert np.abs(got - expected).max() < 1e-5 * expected.std()
