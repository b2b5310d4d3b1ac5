"""Sessions of made-up engines on a made-up GPU, in both flavours."""

from __future__ import annotations

import random
from pathlib import Path

import fake_tensorrt
import numpy as np
import pytest
from fake_cuda import FakeCuda, install
from fake_tensorrt import Arrays, FakeTensorRT, engine
from numpy.typing import NDArray

from starcast.runtime.nvidia.cuda_python import CudaPython
from starcast.runtime.nvidia.tensorrt.execution import deserialise
from starcast.runtime.nvidia.tensorrt.session import TensorRTSession

BUILD = "starcast build my-model --backend tensorrt-rtx --precision fp16"
MOST, SMALL, LARGE = 3, 4, 16  # pictures in the largest batch; sides


def translated(image: NDArray[np.uint8], style: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What the engine computes: every picture plus its style's whole part, as bytes."""
    moved: NDArray[np.uint8] = image + style[:, :1].astype(np.uint8)[:, :, None, None]
    return moved


def _frames(feeds: Arrays) -> Arrays:
    return translated(feeds["image"], feeds["style"])


fake_tensorrt.FUNCTIONS["frames"] = "translation", _frames
FRAMES = engine(
    "frames",
    image=("uint8", (1, SMALL, SMALL, 3), (MOST, LARGE, LARGE, 3)),
    style=("float32", (1, 2), (MOST, 2)),
)


def session(
    patch: pytest.MonkeyPatch, flavour: str, *, chance: random.Random | None = None, kernels: Path | None = None,
    content: bytes = FRAMES, kept: bytes | None = None,
) -> tuple[TensorRTSession, FakeTensorRT, FakeCuda]:  # fmt: skip
    """A session, its library and its card."""
    card = install(patch, FakeCuda(chance))
    trt = FakeTensorRT(card, rtx=flavour == "tensorrt-rtx")
    driver = CudaPython()
    with driver.active():
        execution = deserialise(trt, content, driver, "generator/taps16.onnx", kept)
        return TensorRTSession("generator/taps16.onnx", BUILD, execution, driver, kernels), trt, card


def pictures(count: int, side: int = SMALL, seed: int = 0) -> Arrays:
    """Feeds: different pictures, and a style for each."""
    draws = np.random.default_rng(seed)
    return {
        "image": draws.integers(0, 256, (count, side, side, 3), np.uint8),
        "style": draws.integers(0, 99, (count, 2)).astype(np.float32),
    }
