"""Whole graphs in torch: ONNX Runtime's bytes in every form, and float32 statistics in half precision."""

from __future__ import annotations

import weakref

import numpy as np
import onnx_ir as ir
import pytest
import torch
from small_graphs import graph
from torch.utils._python_dispatch import TorchDispatchMode

from starcast.export.gate.candidates import open_session
from starcast.export.gate.parity import make_trials
from starcast.export.gate.quality import psnr
from starcast.export.passes.adain_plugin import with_function
from starcast.export.passes.forms import FORMS, apply_form
from starcast.export.passes.norm_decomposition import decompose_norms
from starcast.export.passes.wide_norms import split_wide_norms
from starcast.export.plan import Plan
from starcast.export.precisions import gate_of
from starcast.export.targets.onnx import make_float32
from starcast.export.targets.tensorrt import make_base, make_in_precision
from starcast.export.torch_engine.graph import TorchGraph

CPU = torch.device("cpu")
DRAWS = np.random.default_rng(5)
SOURCES = DRAWS.integers(0, 256, (3, 32, 64, 3), np.uint8)


def in_torch(model, feeds, **options):
    with torch.inference_mode():
        return TorchGraph(model, **options)({name: torch.tensor(value) for name, value in feeds.items()}).numpy()


def levels(got, expected):
    assert got.dtype == expected.dtype == np.uint8
    return int(np.abs(got.astype(int) - expected).max())


def styles(small, count):
    return DRAWS.standard_normal((count, small.config.style_dim)).astype(np.float32)


def spelled(model):
    apply_form(model, "taps16")
    assert decompose_norms(model, 32, {}) > 0
    return model


@pytest.mark.parametrize("count", [1, 3], ids=["one style", "a style each"])
@pytest.mark.parametrize("form", [*FORMS, "spelled"])
def test_every_form_gives_onnx_runtimes_bytes(small, form, count):
    model = ir.load(small.generator)
    if form == "spelled":
        spelled(model)
    else:
        apply_form(model, form)
    feeds = {"image": SOURCES, "style": styles(small, count)}
    [expected] = open_session(model.clone()).run(None, feeds)
    assert levels(in_torch(model, feeds), expected) <= 1


@pytest.mark.parametrize("norms", ["fused", "plugin"])
def test_tensorrts_float32_graphs_are_taken(small, norms):
    trials = make_trials(small.model)
    base, _ = make_base(ir.load(small.generator), "taps16", 32, trials, trials[:1])
    model = make_in_precision(base, Plan("taps16", ("tensorrt",), norms=norms), 32).frame
    feeds = {"image": SOURCES, "style": styles(small, 3)}
    [expected] = open_session(with_function(model) if norms == "plugin" else model.clone()).run(None, feeds)
    assert levels(in_torch(model, feeds), expected) <= 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_plugins_graph_is_in_half_what_the_engines_own_norms_give(small, precision):
    trials = make_trials(small.model)
    base, _ = make_base(ir.load(small.generator), "taps16", 32, trials, trials[:1])
    feeds = {"image": SOURCES, "style": styles(small, 3)}
    plugin, native = (
        in_torch(
            make_in_precision(base, Plan("taps16", ("tensorrt",), norms=norms), 32).frame, feeds, precision=precision
        )
        for norms in ("plugin", "fused")
    )
    np.testing.assert_array_equal(plugin, native)


@pytest.mark.parametrize("one_style", [False, True])
def test_scales_and_shifts_that_were_split_off_are_taken(small, one_style):
    made = make_float32(ir.load(small.generator), Plan("taps9", ("onnxruntime",), one_style=one_style), 32)
    given = {"style": styles(small, 1)}
    feeds = {"image": SOURCES, "gamma_beta": in_torch(made.product, given)}
    [expected] = open_session(made.frame.clone()).run(None, feeds)
    assert levels(in_torch(made.frame, feeds), expected) <= 1


def test_styles_are_made_of_latents_and_of_references(small):
    domain = np.array([2, 0, 1])
    latents = {"latent": DRAWS.standard_normal((3, small.config.latent_dim)).astype(np.float32), "domain": domain}
    references = {"image": np.ascontiguousarray(SOURCES[:, :, :32]), "domain": domain}
    for path, feeds in ((small.mapping, latents), (small.style_encoder, references)):
        model = ir.load(path)
        [expected] = open_session(model.clone()).run(None, feeds)
        np.testing.assert_allclose(in_torch(model, feeds), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "least"), [("fp16", gate_of("fp16").mean), ("bf16", 30.0)])
def test_half_precision_is_near_float32(small, precision, least):
    feeds = {"image": SOURCES, "style": styles(small, 3)}
    model = ir.load(small.generator)
    apply_form(model, "taps16")
    [expected] = open_session(model.clone()).run(None, feeds)
    got = in_torch(model, feeds, precision=precision)
    assert got.dtype == np.uint8
    assert np.mean([psnr(*pair) for pair in zip(got, expected, strict=True)]) > least


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_statistics_are_float32_in_half_precision(precision):
    # squares of 300 overflow fp16, and bf16 has no digits for the mean of 300 +- 1
    model = graph(
        "c = Conv(x, w) y = InstanceNormalization(c, one, zero)", "float[n, 1, 4, 4] x", "float[n, 1, 4, 4] y",
        w=np.ones((1, 1, 1, 1)), one=[1.0], zero=[0.0],
    )  # fmt: skip
    board = np.where(np.indices((4, 4)).sum(0) % 2, 512.0, -512.0).astype(np.float32)[None, None]
    got = in_torch(model, {"x": board}, precision=precision)
    np.testing.assert_allclose(got, np.sign(board), rtol=2**-8)


def test_biases_that_only_norms_see_are_left_out():
    """In torch each is a pass of its own over what the convolution wrote."""
    model = graph(
        "c = Conv(x, w, b) y = InstanceNormalization <epsilon: float = 0.00001> (c, one, zero)",
        "float[n, 2, 4, 4] x", "float[n, 2, 4, 4] y",
        w=np.eye(2)[..., None, None], b=[100.0, -3.0], one=[1.0, 2.0], zero=[0.0, 1.0],
    )  # fmt: skip
    x = DRAWS.standard_normal((2, 2, 4, 4)).astype(np.float32)
    [expected] = open_session(model.clone()).run(None, {"x": x})
    graph_in_torch = TorchGraph(model)
    assert [sum(place is not None for place in work.reads) for work in graph_in_torch._works] == [2, 3]
    np.testing.assert_allclose(in_torch(model, {"x": x}), expected, atol=1e-4)


def test_in_half_they_stay_as_they_may_centre_the_planes():
    model = graph(
        "c = Conv(x, w, b) y = InstanceNormalization(c, one, zero)", "float[n, 1, 4, 4] x", "float[n, 1, 4, 4] y",
        w=np.ones((1, 1, 1, 1)), b=[-300.0], one=[1.0], zero=[0.0],
    )  # fmt: skip
    x = (300 + np.random.default_rng(0).standard_normal((1, 1, 4, 4))).astype(np.float16).astype(np.float32)
    right = (x - x.mean()) / x.std()
    assert np.abs(in_torch(model, {"x": x}, precision="fp16") - right).max() < 2e-3  # 300 alone has a quarter of 1


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_norms_that_were_split_into_tiles_are_one_again_with_float32_statistics(precision):
    maps = "float[batch, 1, height, width]"
    model = graph(
        "c = Conv(x, w) y = InstanceNormalization <epsilon: float = 0.00001> (c, scale, shift)",
        f"{maps} x", f"{maps} y",
        w=np.ones((1, 1, 1, 1)), scale=[2.0], shift=[0.5],
    )  # fmt: skip
    assert split_wide_norms(model, 512) == 1
    run = TorchGraph(model.clone(), precision=precision)
    assert len(run._works) == (2 if precision == "fp32" else 4)  # convolution and norm; in half two casts besides
    board = np.where(np.indices((512, 512)).sum(0) % 2, 512.0, -512.0).astype(np.float32)[None, None]
    got = in_torch(model, {"x": board}, precision=precision)
    np.testing.assert_allclose(got, 2 * np.sign(board) + 0.5, rtol=2**-8)


@pytest.mark.parametrize("own", [False, True], ids=["a style's", "its own"])
def test_the_norm_of_a_single_pixel_is_its_shift(own):
    behind = "" if own else "m = Mul(i, s) y = Add(m, b)"
    model = graph(
        f"{'y' if own else 'i'} = InstanceNormalization(x, {'b, b' if own else 'one, zero'}) {behind}",
        "float[n, 2, h, w] x" + ("" if own else ", float[n, 2, 1, 1] s"), "float[n, 2, h, w] y",
        **({"b": [3.0, -1.0]} if own else {"b": np.array([3.0, -1.0]).reshape(1, 2, 1, 1), "one": [1.0, 1.0],
                                           "zero": [0.0, 0.0]}),
    )  # fmt: skip
    feeds = {"x": DRAWS.standard_normal((3, 2, 1, 1)).astype(np.float32)}
    if not own:
        feeds["s"] = np.ones((3, 2, 1, 1), np.float32)
    np.testing.assert_array_equal(in_torch(model, feeds), np.tile([3.0, -1.0], (3, 1))[:, :, None, None])


def test_values_are_let_go_when_nothing_reads_them_any_more():
    made, alive = [], []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            alive.append(sum(one() is not None for one in made))
            result = function(*args, **(kwargs or {}))
            made.append(weakref.ref(result))
            return result

    run = TorchGraph(graph("a = Neg(x) b = Neg(a) c = Neg(b) d = Neg(c) y = Neg(d)", "float[2] x", "float[2] y"))
    x = torch.ones(2)
    with Watching():
        run({"x": x})
    assert alive == [0, 1, 1, 1, 1]  # the one that is read


def test_weights_of_convolutions_lie_channels_last_where_that_is_asked_for(small):
    model = ir.load(small.generator)
    run = TorchGraph(model, channels_last=True)
    kernels = [t for t in run._constants if t is not None and t.dim() == 4 and t.shape[-1] == 3]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    feeds = {"image": SOURCES, "style": styles(small, 1)}
    [expected] = open_session(ir.load(small.generator)).run(None, feeds)
    with torch.inference_mode():
        got = run({name: torch.tensor(value) for name, value in feeds.items()}).numpy()
    assert levels(got, expected) <= 1
