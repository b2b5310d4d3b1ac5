"""R1 through the discriminator: torch's own numbers, by convolutions of ordinary size."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from starcast.train.families.stargan_v2.losses import adversarial_loss, r1_penalty
from starcast.train.families.stargan_v2.networks import StarGANv2Config, build_networks
from starcast.train.second_derivative import ImageGradients

CONFIG = StarGANv2Config(image_size=32, domains=3, channel_base=128, max_channels=8)
DOMAIN = torch.tensor([2, 0])


class Kernels(TorchDispatchMode):
    """Notes how large the kernels of all convolutions are."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.sides.add(args[1].shape[-1])
        return function(*args, **(kwargs or {}))


def gradients(mode, layout=torch.contiguous_format):
    """Of the discriminator's parameters, in float64, of what update 1 and 2 of a step compute."""
    discriminator = build_networks(CONFIG, seed=1).discriminator.double().to(memory_format=layout)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = images.contiguous(memory_format=layout).requires_grad_()
    with mode:
        logits = discriminator(images, DOMAIN)
    (2 * r1_penalty(logits, images) + adversarial_loss(logits, real=True)).backward()
    return [parameter.grad for parameter in discriminator.parameters()]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_penaltys_gradients_are_torchs_own(layout):
    for found, right in zip(gradients(ImageGradients(), layout), gradients(nullcontext(), layout), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12 * float(right.abs().max()))


@pytest.mark.parametrize(("mode", "largest"), [(ImageGradients, 4), (nullcontext, 32)], ids=["ours", "torch's own"])
def test_no_kernel_is_as_large_as_an_image(mode, largest):
    with Kernels() as seen:
        gradients(mode())
    assert max(seen.sides) == largest


@pytest.mark.parametrize("side", [8, 9, 11])  # 9 and 11: the last rows and columns are under no window
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_strides_are_differentiated_twice_as_torch_does(kernel, stride, padding, side):
    draws = torch.Generator().manual_seed(side)
    layers = nn.Sequential(nn.Conv2d(3, 4, kernel, stride, padding), nn.LeakyReLU(0.01), nn.Conv2d(4, 2, 2)).double()
    for parameter in layers.parameters():
        nn.init.normal_(parameter, generator=draws)
    images = torch.randn(2, 3, side, side, generator=draws, dtype=torch.float64)

    def penalty(mode):
        layers.zero_grad()
        x = images.clone().requires_grad_()
        with mode:
            y = layers(x)
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (dx.flatten(1).norm(dim=1) - 1).square().mean().backward()
        # a bias decides no gradient, so it gets none
        return [parameter.grad for parameter in layers.parameters() if parameter.dim() > 1]

    for found, right in zip(penalty(ImageGradients()), penalty(nullcontext()), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


def test_a_convolution_that_is_meant_otherwise_is_refused():
    with ImageGradients(), pytest.raises(ValueError, match="dilation"):
        nn.Conv2d(3, 4, 3, dilation=2)(torch.zeros(1, 3, 8, 8))


def test_outside_of_it_convolutions_are_torchs():
    assert nn.Conv2d(3, 4, 3)(torch.zeros(1, 3, 8, 8)).grad_fn.name() == "ConvolutionBackward0"
