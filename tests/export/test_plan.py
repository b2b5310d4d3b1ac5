"""Which frame graphs a bundle gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from starcast.errors import MissingExtraError, OptionError
from starcast.export.options import ExportOptions
from starcast.export.plan import PREFERRED, Plan, float32_plans, form_for, plans_for
from starcast.runtime.engines.base import NOT_INSTALLED
from starcast.runtime.engines.registry import ENGINES


def test_every_engine_gets_its_own_form():
    assert float32_plans(["onnxruntime", "openvino"], []) == [PREFERRED["onnxruntime"], PREFERRED["openvino"]]


def test_without_a_wish_every_engine_that_can_be_checked_gets_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    assert float32_plans([], []) == [plan for name, plan in PREFERRED.items() if name != "tensorrt"]
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: NOT_INSTALLED)
    assert float32_plans([], []) == [PREFERRED["openvino"], PREFERRED["onnxruntime"]]


def test_forms_that_are_named_are_written_once_for_all_engines_that_read_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    assert float32_plans(["openvino", "onnxruntime", "ncnn"], ["plain", "taps16"]) == [
        Plan("plain", ("openvino", "onnxruntime")),
        Plan("taps16", ("openvino", "onnxruntime")),
        Plan("taps16", ("ncnn", "ncnn-vulkan"), ncnn=True),
    ]


def test_tensorrt_has_a_graph_of_its_own_in_every_form_and_spelling_that_is_named():
    fused, plugin = (
        Plan("taps16", ("tensorrt", "tensorrt-rtx"), norms="fused"),
        Plan("taps16", ("tensorrt",), norms="plugin"),
    )
    assert float32_plans(["tensorrt"], []) == [fused]
    assert float32_plans(["tensorrt"], [], ["plugin"]) == [plugin]
    assert float32_plans(["openvino", "tensorrt"], ["plain", "taps16"], ["fused", "plugin"]) == [
        Plan("plain", ("openvino",)), Plan("taps16", ("openvino",)),
        replace(fused, form="plain"), fused, replace(plugin, form="plain"), plugin,
    ]  # fmt: skip
    assert float32_plans(["tensorrt"], [], ["fused", "unfused"]) == [fused, replace(fused, norms="unfused")]
    assert [plan.file for plan in (fused, plugin)] == ["taps16-fused-fp32.onnx", "taps16-plugin-fp32.onnx"]


def test_an_engine_that_is_named_and_not_here_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: NOT_INSTALLED)
    with pytest.raises(MissingExtraError, match=r"not installed: pip install 'starcast\[ncnn\]'"):
        float32_plans(["ncnn"], [])


@pytest.mark.parametrize(("backends", "forms", "words"), [
    (["tvm"], [], "--for is tvm: give one or several of openvino, onnxruntime"),
    (["openvino", "ncnn"], ["plain"], "--forms has no form that ncnn can run: add one of taps9, taps16"),
    (["openvino"], ["fast"], "--forms is 'fast': give one or several of plain, taps9"),
])  # fmt: skip
def test_engines_and_forms_that_are_unknown_or_do_not_fit_are_refused(backends, forms, words, monkeypatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    with pytest.raises(OptionError, match=words):
        float32_plans(backends, forms)


@pytest.mark.parametrize(("form", "precision", "wanted"), [
    ("taps16", "fp16", "taps16"), ("taps16", "bf16", "phases"), ("taps9", "bf16", "phases"),
    ("plain", "bf16", "plain"), ("phases", "bf16", "phases"), ("taps9", "int8", "taps9"),
])  # fmt: skip
def test_a_form_with_transposed_convolutions_is_not_written_in_bf16(form, precision, wanted):
    assert form_for(form, precision) == wanted


def test_plans_come_in_the_bundles_order():
    options = ExportOptions(
        backends=("openvino", "onnxruntime", "tensorrt"), precision=("int8", "bf16", "fp16"),
        adain=("fused", "unfused"),
    )  # fmt: skip
    assert [plan.name for plan in plans_for(options)] == [
        "taps9-fp32", "taps9-one-style-fp32", "taps9-bf16", "taps9-int8-bf16", "taps9-int8", "phases-one-style-int8",
        "taps16-fused-fp32", "taps16-fused-int8", "taps16-unfused-int8", "phases-fused-bf16", "phases-unfused-bf16",
        "taps16-fused-fp16", "taps16-unfused-fp16",
    ]  # fmt: skip


def test_bf16_on_the_cpu_is_a_hint_on_the_float32_file():
    [exact, hint] = plans_for(ExportOptions(backends=("openvino",), precision=("bf16",)))
    assert (exact.is_hint, hint.is_hint) == (False, True)
    assert (hint.file, hint.weights) == (exact.file, exact.weights) == ("taps9-fp32.onnx", "weights")


def test_graphs_share_weights_where_most_of_them_are_equal():
    plans = plans_for(ExportOptions(backends=("openvino", "tensorrt"), precision=("int8",)))
    assert [plan.weights for plan in plans] == [
        "weights", "taps9-int8", "taps9-int8", "taps16-fused-fp32", "taps16-fused-int8",
    ]  # fmt: skip


def test_without_engines_that_run_it_in_int8_nothing_is_written_in_int8(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    assert [plan.name for plan in plans_for(ExportOptions(backends=("ncnn",), precision=("int8",)))] == ["taps9-fp32"]
