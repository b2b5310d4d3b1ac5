"""The kernels, run by Triton's interpreter: `test_adain.py` runs this file in a process of its own."""

from __future__ import annotations

import pytest
import torch
from adain_checks import check_forward, check_gradients, check_second_gradients, in_float64, kernel, planes, style
from hypothesis import given, settings
from hypothesis import strategies as st
from triton import language as tl
from triton.runtime import interpreter

from starcast.kernels import tiling
from starcast.kernels.tiling import tiling_for
from starcast.train import adain
from starcast.train.adain import adain_leaky_relu
from starcast.train.families.stargan_v2.networks import StarGANv2Config, build_networks

KINDS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LAYOUTS = {"nchw": False, "nhwc": True}
# one pixel, odd, several planes a tile, a large one that only the way back reads twice, several slices a plane
SHAPES = [(3, 5, 1, 1), (2, 3, 5, 7), (2, 33, 16, 16), (1, 1, 90, 90), (1, 2, 131, 127)]
LARGE = SHAPES[-1]


@pytest.fixture(autouse=True, scope="module")
def rounded():
    """Numbers become bfloat16 as on a GPU, by rounding: the interpreter cuts them off, which alone is up to a unit in
    the last place. (Its own way to round forgets what is carried into the exponent.)"""
    convert = interpreter._convert_float

    def rounding(numbers, before, after, mode):
        if (before, after, mode) == (tl.float32, tl.bfloat16, None):
            return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()
        return convert(numbers, before, after, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_convert_float", rounding)
        yield


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_are_float64s_in_every_type_layout_and_size(shape, kind, layout):
    x = planes(shape, dtype=KINDS[kind], last=LAYOUTS[layout])
    check_forward(x, *style(*shape[:2]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [10, 100, 1000])
@pytest.mark.parametrize("shape", [(2, 3, 15, 17), LARGE], ids=["one kernel", "two kernels"])
def test_outputs_are_float64s_where_the_mean_is_many_times_the_spread(shape, ratio, kind, layout):
    x = planes(shape, ratio=ratio, dtype=KINDS[kind], last=LAYOUTS[layout])
    check_forward(x, *style(*shape[:2]))


@pytest.fixture
def never_split(monkeypatch):
    """As if few programs filled a GPU: planes that no program can hold are read twice by one."""
    monkeypatch.setattr(tiling, "FILLS", 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_way_of_launching_is_among_the_sizes(layout, monkeypatch):
    def way(shape, inputs):
        found = tiling_for(
            shape[0], shape[1], shape[2] * shape[3], item_bytes=4, channels_last=LAYOUTS[layout], inputs=inputs
        )
        return "held" if found.held else "read twice" if found.slices == 1 else "split"

    assert {way(shape, 1) for shape in SHAPES} == {"held", "split"}
    assert {way(shape, 2) for shape in SHAPES} >= {"held", "split"}
    monkeypatch.setattr(tiling, "FILLS", 1)
    assert way(LARGE, 1) == way(LARGE, 2) == "read twice"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ratio", [0, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_planes_that_one_program_reads_twice_are_float64s(never_split, ratio, kind, layout):
    x, own = planes(LARGE, ratio=ratio, dtype=KINDS[kind], last=LAYOUTS[layout]), style(*LARGE[:2])
    check_forward(x, *own)
    check_gradients(x, *own, limit=max(1e-4, torch.finfo(KINDS[kind]).eps))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fills", [tiling.FILLS, 1], ids=["two kernels", "one kernel"])
def test_a_first_tile_unlike_the_rest_does_no_harm(fills, layout, monkeypatch):
    """What the pivot is taken from is a black bar, a thousand spreads from the picture."""
    monkeypatch.setattr(tiling, "FILLS", fills)
    x = planes((1, 2, 160, 160), ratio=1000)
    x[:, :, :40] = 0
    check_forward(x.contiguous(memory_format=torch.channels_last) if LAYOUTS[layout] else x, *style(1, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [0.0, -3.5, 1000.0])
def test_a_plane_of_one_colour_becomes_its_shift(value, layout):
    scale, shift = style(2, 3)
    x = torch.full((2, 3, 6, 5), value)
    y = kernel(x.contiguous(memory_format=torch.channels_last) if LAYOUTS[layout] else x, scale, shift)
    wanted = torch.where(shift > 0, shift, 0.2 * shift)[:, :, None, None].expand_as(y)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0])
def test_the_slope_is_the_activations_and_one_is_none(slope):
    check_forward(planes((2, 3, 5, 7)), *style(2, 3), slope=slope)
    check_gradients(planes((2, 3, 5, 7)), *style(2, 3), slope=slope)


@pytest.mark.parametrize("eps", [1e-12, 0.5])
def test_epsilon_is_added_to_the_variance(eps):
    check_forward(planes((2, 3, 5, 7)), *style(2, 3), eps=eps)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_gradients_are_float64s_in_every_layout_and_size(shape, layout):
    check_gradients(planes(shape, last=LAYOUTS[layout]), *style(*shape[:2]))


@pytest.mark.parametrize("ratio", [100, 1000])
@pytest.mark.parametrize("shape", [(2, 3, 15, 17), LARGE], ids=["one kernel", "two kernels"])
def test_gradients_are_float64s_where_the_mean_is_many_times_the_spread(shape, ratio):
    check_gradients(planes(shape, ratio=ratio), *style(*shape[:2]))


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_gradients_of_half_types_are_rounded_once(kind):
    check_gradients(planes((2, 3, 15, 17), dtype=KINDS[kind]), *style(2, 3), limit=torch.finfo(KINDS[kind]).eps)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), LARGE], ids=["one kernel", "two kernels"])
def test_a_norms_own_weights_serve_every_sample_and_gather_its_gradients(shape):
    own = style(shape[1])
    check_forward(planes(shape), *own)
    check_gradients(planes(shape), *own)


def test_a_style_may_have_planes_of_one_pixel_as_the_tracer_likes_it():
    x, (scale, shift) = planes((2, 3, 5, 7)), style(2, 3)
    torch.testing.assert_close(
        kernel(x, scale[:, :, None, None], shift[:, :, None, None]), kernel(x, scale, shift), rtol=0, atol=0
    )


def test_gradients_are_those_that_gradcheck_finds_in_float64():
    given = [each.double().requires_grad_() for each in (planes((2, 1, 2, 3)), *style(2, 1))]
    assert torch.autograd.gradcheck(kernel, given, eps=1e-6, atol=1e-7)


def test_second_gradients_are_those_that_gradgradcheck_finds_in_float64():
    given = [each.double().requires_grad_() for each in (planes((2, 1, 2, 3)), *style(2, 1))]
    assert torch.autograd.gradgradcheck(kernel, given, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_second_gradients_are_float64s(layout):
    check_second_gradients(planes((2, 3, 15, 17), ratio=100, last=LAYOUTS[layout]), *style(2, 3))


FEWER = {16: 16, 2: 2, 132: 4, 64: 2}  # planes, where four programs instead of 132 fill a GPU


def ways(tried, inputs):
    """How the kernels are launched for each of these shapes."""
    found = [
        tiling_for(
            shape[0], shape[1], shape[2] * shape[3], item_bytes=kind.itemsize, channels_last=False, inputs=inputs
        )
        for shape, kind, _ in tried
    ]  # fmt: skip
    return ["held" if one.held else "read twice" if one.slices == 1 else "split" for one in found]


def test_what_is_tried_before_a_run_on_a_gpu_finds_the_kernels_right(monkeypatch):
    fewer = [((shape[0], FEWER[shape[1]], *shape[2:]), kind, slope) for shape, kind, slope in adain.TRIED]
    own = [ways(adain.TRIED, inputs) for inputs in (1, 2)]
    monkeypatch.setattr(tiling, "FILLS", 4)
    assert [ways(fewer, inputs) for inputs in (1, 2)] == own  # the interpreter takes a minute for all planes
    monkeypatch.setattr(adain, "TRIED", fewer)
    assert adain._failure(torch.device("cpu")) is None
    monkeypatch.setattr(adain, "AGREEMENT", dict.fromkeys(adain.AGREEMENT, 1e-9))
    assert "it differs from them" in adain._failure(torch.device("cpu"))


@pytest.mark.parametrize("inputs", [1, 2], ids=["forward", "backward"])
def test_it_tries_every_way_of_launching(inputs):
    assert set(ways(adain.TRIED, inputs)) == {"held", "read twice", "split"}


def test_the_reference_and_the_kernel_are_one_function():
    x, (scale, shift) = planes((2, 3, 15, 17)), style(2, 3)
    torch.testing.assert_close(kernel(x, scale, shift), adain_leaky_relu(x, scale, shift), rtol=0, atol=2e-6)


def test_autocast_leaves_planes_in_their_type_and_the_style_its_gradient():
    x = planes((2, 3, 5, 7), dtype=torch.bfloat16).requires_grad_()
    scale, shift = (each.bfloat16().requires_grad_() for each in style(2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        y = kernel(x, scale, shift)
    y.float().square().sum().backward()
    assert y.dtype == x.grad.dtype == scale.grad.dtype == shift.grad.dtype == torch.bfloat16
    check_forward(x.detach(), scale.detach().float(), shift.detach().float())


def test_planes_in_neither_layout_are_taken_too():
    x = planes((2, 3, 7, 5)).transpose(2, 3)
    torch.testing.assert_close(kernel(x, *style(2, 3)).double(), in_float64(x, *style(2, 3)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((2, 3), (3,)), ((1, 3), (1, 3))], ids=str)
def test_shapes_that_do_not_go_together_are_refused(shapes):
    with pytest.raises(ValueError, match=r"x is \(2, 3, 5, 7\), scale .*: give x \(N, C, H, W\), and scale and shift"):
        kernel(planes((2, 3, 5, 7)), *(torch.ones(shape) for shape in shapes))


@settings(max_examples=20, deadline=None)
@given(
    samples=st.integers(1, 3), channels=st.integers(1, 40), height=st.integers(1, 40), width=st.integers(1, 40),
    ratio=st.floats(-1000, 1000), kind=st.sampled_from(sorted(KINDS)), last=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_outputs_are_float64s_whatever_the_shape(samples, channels, height, width, ratio, kind, last, seed):
    x = planes((samples, channels, height, width), ratio=ratio, dtype=KINDS[kind], last=last, seed=seed)
    check_forward(x, *style(samples, channels, seed=seed))


def test_a_generator_with_its_gradients_is_the_references():
    config = StarGANv2Config(image_size=32, domains=2, style_dim=4, latent_dim=3, channel_base=64, max_channels=4)
    draws = torch.Generator().manual_seed(3)
    source, given = torch.randn(1, 3, 32, 32, generator=draws), torch.randn(1, 4, generator=draws)
    found = []
    for implementation in ("reference", "triton"):
        generator = build_networks(config, seed=1).use_adain(implementation).generator
        image = generator(source, given)
        image.square().mean().backward()
        found.append([image.detach(), *(parameter.grad for parameter in generator.parameters())])
    for reference, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, reference, rtol=1e-4, atol=1e-5 * float(reference.abs().max()) + 1e-6)
