from __future__ import annotations

import pytest

from starcast.errors import OptionError
from starcast.export.options import ExportOptions


def test_no_draws_are_an_error() -> None:
    with pytest.raises(OptionError, match="--mean-draws is 0"):
        ExportOptions(mean_draws=0)


def test_there_is_no_option_for_the_tolerance() -> None:
    assert not [name for name in ExportOptions.__dataclass_fields__ if "toleran" in name]


@pytest.mark.parametrize("options", [
    {"precision": ("fp32", "fp16")}, {"precision": ("fp8",), "backends": ("openvino",)}, {"adain": ("plugin",)},
], ids=["fp16", "fp8", "plugin"])  # fmt: skip
def test_what_tensorrt_alone_has_says_how_to_ask_for_it(options) -> None:
    with pytest.raises(OptionError, match=r"--[a-z-]+ \w+ is for TensorRT only: add --for tensorrt"):
        ExportOptions(**options)
    assert ExportOptions(**{**options, "backends": ("openvino", "tensorrt")})


def test_an_unknown_spelling_of_adain_is_refused() -> None:
    with pytest.raises(OptionError, match="--adain-forms is triton: give one or several of fused, plugin"):
        ExportOptions(adain=("triton",), backends=("tensorrt",))


def test_an_unknown_precision_is_refused_with_those_there_are() -> None:
    with pytest.raises(OptionError, match="--precisions is int4: give one or several of fp32, fp16, bf16, int8, fp8"):
        ExportOptions(precision=("fp32", "int4"))


def test_spelled_is_the_former_name_of_fused() -> None:
    assert ExportOptions(adain=("spelled", "plugin"), backends=("tensorrt",)).adain == ("fused", "plugin")
