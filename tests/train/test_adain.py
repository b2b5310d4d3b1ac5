"""One function, two ways: the reference's bits, who gets the kernels, and what torch sees of them.

The kernels' numbers are tested where the kernels are: tests/starcast/kernels.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from adain_checks import check_forward, check_gradients, check_second_gradients, in_float64, planes, style
from torch.nn import functional as F

from starcast.errors import OptionError
from starcast.options import replace_options
from starcast.train import adain
from starcast.train import run as training_run
from starcast.train.adain import adain_leaky_relu, choose_adain
from starcast.train.families.stargan_v2.family import FAMILY
from starcast.train.families.stargan_v2.layers import AdaIN, AffineNorm
from starcast.train.families.stargan_v2.networks import StarGANv2Config, build_networks
from starcast.train.run import train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_the_reference_is_torchs_own_operators_bit_by_bit(last):
    x, (scale, shift) = planes((2, 3, 8, 6), last=last), style(2, 3)
    wanted = F.leaky_relu(scale[:, :, None, None] * F.instance_norm(x) + shift[:, :, None, None], 0.2)
    assert torch.equal(adain_leaky_relu(x, scale, shift), wanted)
    assert torch.equal(adain_leaky_relu(x, scale[:, :, None, None], shift[:, :, None, None]), wanted)
    wanted = F.leaky_relu(F.instance_norm(x, weight=scale[0], bias=shift[0]), 0.2)
    assert torch.equal(adain_leaky_relu(x, scale[0], shift[0]), wanted)


@pytest.mark.parametrize("own", [False, True], ids=["a style's", "its own"])
def test_the_reference_is_the_papers_formula(own):
    x, (scale, shift) = planes((2, 3, 8, 6)), style(3) if own else style(2, 3)
    found = adain_leaky_relu(x, scale, shift, eps=0.01, slope=0.3)
    torch.testing.assert_close(found.double(), in_float64(x, scale, shift, eps=0.01, slope=0.3), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "device", "installed", "chosen"),
    [
        ("auto", CPU, True, "reference"),
        ("auto", CUDA, True, "triton"),
        ("auto", CUDA, False, "reference"),
        ("reference", CUDA, True, "reference"),
        ("triton", CUDA, True, "triton"),
    ],
)
def test_auto_is_the_kernel_on_a_gpu_where_triton_is(name, device, installed, chosen, monkeypatch):
    monkeypatch.setattr(adain, "find_spec", lambda package: object() if installed else None)
    monkeypatch.setattr(adain, "_failure", lambda device: None)
    assert choose_adain(name, device) == chosen


def broken(x, scale, shift, *, implementation, **options):
    """The reference, but for kernels that lose a shift."""
    return adain_leaky_relu(x, scale, shift if implementation == "reference" else 0 * shift, **options)


def no_numbers(x, scale, shift, *, implementation, **options):
    """The reference, but for kernels that give NaN for one pixel."""
    y = adain_leaky_relu(x, scale, shift, **options)
    return y if implementation == "reference" else torch.where(y == y.max(), float("nan"), y)


def without_compiler(x, scale, shift, *, implementation, **options):
    if implementation == "triton":
        raise RuntimeError("Failed to find C compiler")
    return adain_leaky_relu(x, scale, shift, **options)


@pytest.mark.parametrize(("kernels", "why"), [
    (broken, "differs from them by"), (no_numbers, "differs from them by nan"),
    (without_compiler, "RuntimeError: Failed to find C compiler"),
])  # fmt: skip
def test_kernels_that_do_not_give_the_references_numbers_are_left_out_with_a_line(kernels, why, monkeypatch):
    monkeypatch.setattr(adain, "adain_leaky_relu", kernels)
    monkeypatch.setattr(adain, "_lacking", lambda device: None)
    lines = []
    assert choose_adain("auto", CPU, lines.append) == "reference"
    [line] = lines
    assert why in line
    with pytest.raises(OptionError, match=f"--adain triton does not work here .*{why}.*: use --adain reference"):
        choose_adain("triton", CPU)


def test_kernels_that_give_the_references_numbers_are_taken(monkeypatch):
    def exact(x, scale, shift, *, implementation, **options):
        return adain_leaky_relu(x.double(), scale.double(), shift.double(), **options).to(x.dtype)

    monkeypatch.setattr(adain, "adain_leaky_relu", exact)
    monkeypatch.setattr(adain, "_lacking", lambda device: None)
    assert choose_adain("auto", CPU, pytest.fail) == "triton"


def test_a_gpu_without_triton_reports_that_the_kernels_are_not_used(monkeypatch):
    monkeypatch.setattr(adain, "find_spec", lambda package: None)
    lines = []
    assert choose_adain("auto", CUDA, lines.append) == "reference"
    assert lines == [
        "The AdaIN kernel is not used (it needs the package triton): PyTorch's operators compute the norms."
    ]
    assert choose_adain("auto", CPU, pytest.fail) == "reference"


@pytest.mark.parametrize(("device", "lacking"), [(CPU, "an NVIDIA GPU"), (CUDA, "the package triton")])
def test_a_kernel_that_cannot_run_is_refused_with_what_it_needs(device, lacking, monkeypatch):
    monkeypatch.setattr(adain, "find_spec", lambda package: None)
    with pytest.raises(OptionError, match=f"--adain triton needs {lacking}: use --adain reference"):
        choose_adain("triton", device)


def test_every_norm_of_a_model_is_computed_as_chosen():
    config = StarGANv2Config(image_size=32, domains=2, style_dim=4, latent_dim=3, channel_base=64, max_channels=4)
    networks = build_networks(config, seed=1)
    norms = [module for module in networks.generator.modules() if isinstance(module, AdaIN | AffineNorm)]
    assert len(norms) == 13
    assert {norm.implementation for norm in norms} == {"reference"}
    networks.use_adain("triton")
    assert {norm.implementation for norm in norms} == {"triton"}


def test_a_run_on_the_cpu_refuses_the_kernel_before_it_writes_anything(images, small, tmp_path):
    with pytest.raises(OptionError, match="--adain triton needs an NVIDIA GPU: use --adain reference"):
        train(images, tmp_path / "run", replace_options(small, adain="triton"), bar=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("chosen", ["reference", "triton"])
def test_a_run_computes_all_its_norms_as_was_chosen(images, small, tmp_path, monkeypatch, chosen):
    seen = set()

    def watching(networks, averaged, *rest, **settings):
        for some in (networks, averaged):
            norms = [part for part in some.generator.modules() if isinstance(part, AdaIN | AffineNorm)]
            seen.update(norm.implementation for norm in norms)
            some.use_adain("reference")  # the CPU has no other
        return FAMILY.training_step(networks, averaged, *rest, **settings)

    monkeypatch.setattr(training_run, "choose_adain", lambda name, device, report: chosen)
    monkeypatch.setattr(training_run, "family", lambda _: dataclasses.replace(FAMILY, training_step=watching))
    train(images, tmp_path / "run", replace_options(small, steps=1), bar=False)
    assert seen == {chosen}


def test_the_reference_does_not_load_triton():
    script = """
import sys
import torch
from starcast.train.families.stargan_v2.networks import StarGANv2Config, build_networks
generator = build_networks(StarGANv2Config(image_size=32, domains=1, channel_base=64, max_channels=4), 1).generator
generator(torch.zeros(1, 3, 32, 32), torch.zeros(1, 64))
assert not any(name.startswith("starcast.kernels.adain") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize("rows", [1, 2])
def test_the_formula_for_second_gradients_is_the_gradient(rows):
    from starcast.train.adain_triton import differentiable_gradients

    x, scale, shift = (each.double().requires_grad_() for each in (planes((2, 3, 4, 5)), *style(rows, 3)))
    dy = planes((2, 3, 4, 5), seed=5).double()
    wanted = torch.autograd.grad(in_float64(x, scale, shift), (x, scale, shift), dy)
    found = differentiable_gradients(dy, x, scale, shift, 1e-5, 0.2)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


# torch.compile asks Triton's driver which GPU there is, to see in the compiled text what a kernel writes: a driver
# that only answers this is enough to trace.
COMPILED = """
import torch, triton
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget

class Driver:
    def get_current_target(self):
        return GPUTarget("cuda", 89, 32)

triton.runtime.driver.set_active(Driver())
from starcast.train.adain import adain_leaky_relu

written = []

def compiler(graph, example):
    for node in graph.graph.nodes:
        if node.target is torch.ops.higher_order.triton_kernel_wrapper_functional:
            written.append(sorted(node.kwargs["tensors_to_clone"]))
    return graph.forward

for shape in ((2, 8, 16, 16), (1, 4, 256, 256)):
    with FakeTensorMode():
        x = torch.empty(shape, dtype=torch.bfloat16, requires_grad=True)
        scale, shift = (torch.empty(shape[:2], requires_grad=True) for _ in range(2))
        norm = torch.compile(
            lambda x, scale, shift: adain_leaky_relu(x, scale, shift, implementation="triton"),
            backend=aot_autograd(fw_compiler=compiler, bw_compiler=compiler), fullgraph=True,
        )
        y = norm(x, scale, shift)
        y.float().sum().backward()
        assert (y.dtype, y.shape, x.grad.dtype) == (torch.bfloat16, x.shape, torch.bfloat16)
assert written == [
    ["facts", "y"], ["dx", "sums"],
    ["partials"], ["facts", "y"], ["partials"], ["dx", "sums"],
], written
"""


@needs_triton
def test_torch_compile_sees_the_kernels_of_both_ways_and_what_each_of_them_writes():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
SIZES = [(3, 5, 1, 1), (2, 3, 5, 7), (8, 64, 64, 64), (1, 2, 97, 101), (1, 64, 256, 256), (8, 64, 256, 256)]


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("ratio", [0, 1, 1000])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_on_a_gpu_outputs_are_float64s(shape, ratio, dtype, last):
    x = planes(shape, ratio=ratio, dtype=dtype, last=last, device="cuda")
    check_forward(x, *style(*shape[:2], device="cuda"))
    check_forward(x, *style(shape[1], device="cuda"))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("ratio", [1, 1000])
@pytest.mark.parametrize("shape", SIZES[1:], ids=str)
def test_on_a_gpu_gradients_are_float64s(shape, ratio, last):
    check_gradients(planes(shape, ratio=ratio, last=last, device="cuda"), *style(*shape[:2], device="cuda"))


@pytest.mark.gpu
@on_a_gpu
def test_on_a_gpu_second_gradients_are_float64s():
    check_second_gradients(planes((2, 3, 15, 17), ratio=100, device="cuda"), *style(2, 3, device="cuda"))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_on_a_gpu_the_bits_are_the_same_each_time(shape, last):
    x, (scale, shift) = planes(shape, last=last, device="cuda"), style(*shape[:2], device="cuda")
    first, second = (adain_leaky_relu(x, scale, shift, implementation="triton") for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_on_a_gpu_a_compiled_norm_gives_the_bits_of_the_uncompiled(last):
    x, (scale, shift) = planes((8, 64, 64, 64), last=last, device="cuda"), style(8, 64, device="cuda")

    def norm(x, scale, shift):
        return adain_leaky_relu(x, scale, shift, implementation="triton")

    assert torch.equal(torch.compile(norm, fullgraph=True)(x, scale, shift), norm(x, scale, shift))
