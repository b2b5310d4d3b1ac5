from __future__ import annotations

import pytest

from starcast.errors import MissingExtraError, OptionError
from starcast.runtime.engines.base import NOT_INSTALLED
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import flavours
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.targets import choose_targets

ADA = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")
HOPPER = Gpu("NVIDIA H200", (9, 0), "13.0")


@pytest.fixture
def here(monkeypatch):
    """A function that says which TensorRTs are installed."""

    def install(*names: str) -> None:
        monkeypatch.setattr(
            flavours.Flavour, "absent", lambda flavour: None if flavour.name in names else NOT_INSTALLED
        )

    return install


def test_named_generations_each_get_an_engine_once_in_their_order(here):
    here("tensorrt-rtx", "tensorrt")
    found = choose_targets(BuildOptions(gpu=("sm120", "sm75", "sm120")), ADA, lambda: None)
    assert (found.flavour.name, found.generations, found.gpu) == ("tensorrt-rtx", ("sm120", "sm75"), None)


@pytest.mark.parametrize(("gpu", "installed", "expected"), [
    (ADA, ("tensorrt", "tensorrt-rtx"), "tensorrt"),
    (ADA, ("tensorrt-rtx",), "tensorrt-rtx"),
    (HOPPER, ("tensorrt",), "tensorrt"),
])  # fmt: skip
def test_a_gpu_that_is_here_is_built_for_by_the_first_flavour_that_is(here, gpu, installed, expected):
    here(*installed)
    found = choose_targets(BuildOptions(), gpu, lambda: None)
    assert found.flavour.name == expected
    assert found.generations == (gpu.sm,)
    assert found.gpu == (gpu if expected == "tensorrt" else None)  # kernels are timed by one of them only


def _refusal(error: type[Exception], card: Gpu | None, **options: object) -> str:
    with pytest.raises(error) as caught:
        choose_targets(BuildOptions(**options), card, lambda: "no driver")
    return str(caught.value)


def test_without_a_gpu_generations_are_to_be_named(here):
    here("tensorrt-rtx", "tensorrt")
    said = _refusal(OptionError, None)
    assert "no NVIDIA GPU to build for (no driver)" in said
    assert "--gpu sm86,sm89" in said


def test_full_tensorrt_without_a_gpu_points_to_the_other(here):
    here("tensorrt")
    assert "--backend tensorrt-rtx --gpu" in _refusal(OptionError, None, engine="tensorrt")


def test_full_tensorrt_takes_no_generations(here):
    here("tensorrt", "tensorrt-rtx")
    assert "builds only for the GPU that is here" in _refusal(OptionError, ADA, engine="tensorrt", gpu=("sm89",))


def test_an_unknown_generation_is_answered_with_the_known_ones(here):
    here("tensorrt-rtx")
    said = _refusal(OptionError, None, gpu=("sm86", "sm90"))
    assert "'sm90'" in said
    assert "sm75, sm80, sm86, sm89, sm120, sm121" in said


def test_a_data_centre_gpu_is_not_for_tensorrt_for_rtx(here):
    here("tensorrt-rtx")
    assert "not for the GPU that is here (NVIDIA H200, sm90)" in _refusal(OptionError, HOPPER)


def test_a_precision_that_one_of_the_generations_lacks_names_that_one(here):
    here("tensorrt-rtx")
    said = _refusal(OptionError, None, gpu=("sm89", "sm86", "sm120"), precision="fp8")
    assert "sm86 has no fp8" in said
    assert "leave it out of --gpu" in said


def test_a_precision_that_the_gpu_here_lacks_leaves_gpu_alone(here):
    here("tensorrt")
    said = _refusal(OptionError, Gpu("NVIDIA T4", (7, 5), "12.8"), precision="bf16")
    assert "sm75 has no bf16" in said
    assert "--gpu" not in said


def test_no_tensorrt_at_all_is_answered_with_both_lines(here):
    here()
    said = _refusal(MissingExtraError, None)
    assert "starcast[tensorrt-rtx]" in said
    assert "starcast[tensorrt]" in said


def test_the_flavour_that_was_named_is_answered_with_its_line(here):
    here("tensorrt")
    said = _refusal(MissingExtraError, ADA, engine="tensorrt-rtx")
    assert said == "tensorrt-rtx cannot be used (not installed): pip install 'starcast[tensorrt-rtx]'"
