"""PyTorch's translations between bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from starcast.export.gate.reference import Eager, as_bytes, as_floats, from_bytes, to_bytes, translate
from starcast.train.data.batch import to_signed

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1).repeat(3, axis=3)


def test_every_byte_is_scaled_to_the_bit_as_in_training():
    trained = to_signed(torch.from_numpy(EVERY_BYTE).permute(0, 3, 1, 2))
    assert torch.equal(from_bytes(torch.from_numpy(EVERY_BYTE)), trained)


def test_every_byte_comes_back_from_floats():
    np.testing.assert_array_equal(as_bytes(as_floats(EVERY_BYTE).numpy()), EVERY_BYTE)
    assert torch.equal(to_bytes(as_floats(EVERY_BYTE)), torch.from_numpy(EVERY_BYTE))


def test_halves_are_rounded_to_even_and_what_lies_outside_is_clipped():
    values = np.array([0.5, 1.5, 2.5, -40, 300, 254.4]).reshape(1, 1, 1, 6) / 127.5 - 1
    assert as_bytes(values).ravel().tolist() == [0, 2, 2, 0, 255, 254]


def mirror(images: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """A network that mirrors an image and moves it by its style."""
    return images.flip(3) + styles.to(images.dtype)[:, :1, None, None]


def test_one_style_serves_a_whole_batch():
    images = np.random.RandomState(0).randint(0, 200, (3, 4, 6, 3)).astype(np.uint8)
    levels = translate(mirror, images, np.array([[4 / 127.5]], np.float32))
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, images[:, :, ::-1] + 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_network_gets_images_in_the_type_and_layout_that_were_asked_for(layout):
    given = []

    def network(images: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        given.append(images)
        return images

    eager = Eager(network, dtype=torch.bfloat16, memory_format=layout)
    levels = eager(torch.from_numpy(EVERY_BYTE), torch.zeros(1, 2))
    assert (given[0].dtype, given[0].is_contiguous(memory_format=layout)) == (torch.bfloat16, True)
    assert levels.is_contiguous()
    assert (levels.int() - torch.from_numpy(EVERY_BYTE).int()).abs().max() <= 1


def test_with_autocast_convolutions_run_in_that_type():
    kinds = []

    def network(images: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        result = torch.nn.functional.conv2d(images, torch.eye(3)[:, :, None, None])
        kinds.append(result.dtype)
        return result

    images = torch.from_numpy(EVERY_BYTE)
    Eager(network, autocast=torch.bfloat16)(images, torch.zeros(1, 2))
    Eager(network)(images, torch.zeros(1, 2))
    assert kinds == [torch.bfloat16, torch.float32]
