"""A layer through each TensorRT on a real GPU. No GPU has run these yet; `make gpu-check` asks more."""

from __future__ import annotations

import pytest

from starcast.benchmarks.checks.check import NotRunError
from starcast.benchmarks.checks.probe import accepts, checkerboard_engine
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason=f"it needs an NVIDIA GPU ({why_no_gpu()})"),
]


@pytest.mark.parametrize("flavour", list(FLAVOURS))
def test_what_it_built_for_the_gpu_runs_right_plainly_and_as_a_cuda_graph(flavour, tmp_path):
    try:
        figures = accepts(flavour, "current", tmp_path)
    except NotRunError as error:
        pytest.skip(str(error))
    assert figures["error"] < 5e-3


@pytest.mark.parametrize("flavour", list(FLAVOURS))
def test_a_checkerboard_of_512_is_normalised_in_half(flavour, tmp_path):
    try:
        figures = checkerboard_engine(flavour, tmp_path)
    except NotRunError as error:
        pytest.skip(str(error))
    assert max(figures["errors"].values()) <= 2e-3
