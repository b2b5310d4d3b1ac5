"""Which frame graphs a bundle gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from starcast.errors import MissingExtraError, OptionError
from starcast.export.gate.candidates import OnnxCandidate, translated_by_torch
from starcast.export.gate.parity import make_trials
from starcast.export.passes.forms import DEAD_BIASES, Step
from starcast.export.passes.rule import Outcome, Rewrite
from starcast.export.plan import PREFERRED, Made, Plan, first_step_apart, make, plans_for
from starcast.runtime.engines.base import NOT_INSTALLED
from starcast.runtime.engines.registry import ENGINES

pytestmark = pytest.mark.xdist_group("small graphs")


def test_every_engine_gets_its_own_form():
    assert plans_for(["onnxruntime", "openvino"], []) == [PREFERRED["onnxruntime"], PREFERRED["openvino"]]


def test_without_a_wish_every_engine_that_can_be_checked_gets_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    assert plans_for([], []) == [plan for name, plan in PREFERRED.items() if name != "tensorrt"]
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: NOT_INSTALLED)
    assert plans_for([], []) == [PREFERRED["openvino"], PREFERRED["onnxruntime"]]


def test_forms_that_are_named_are_written_once_for_all_engines_that_read_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    assert plans_for(["openvino", "onnxruntime", "ncnn"], ["plain", "taps16"]) == [
        Plan("plain", ("openvino", "onnxruntime")),
        Plan("taps16", ("openvino", "onnxruntime")),
        Plan("taps16", ("ncnn", "ncnn-vulkan"), ncnn=True),
    ]


def test_tensorrt_has_a_graph_of_its_own_in_every_form_and_spelling_that_is_named():
    fused, plugin = (
        Plan("taps16", ("tensorrt", "tensorrt-rtx"), norms="fused"),
        Plan("taps16", ("tensorrt",), norms="plugin"),
    )
    assert plans_for(["tensorrt"], []) == [fused]
    assert plans_for(["tensorrt"], [], ["plugin"]) == [plugin]
    assert plans_for(["openvino", "tensorrt"], ["plain", "taps16"], ["spelled", "plugin"]) == [
        Plan("plain", ("openvino",)), Plan("taps16", ("openvino",)),
        replace(fused, form="plain"), fused, replace(plugin, form="plain"), plugin,
    ]  # fmt: skip
    assert plans_for(["tensorrt"], [], ["spelled", "unfused"]) == [fused, replace(fused, norms="unfused")]
    assert [plan.file for plan in (fused, plugin)] == ["taps16-fused-fp32.onnx", "taps16-plugin-fp32.onnx"]


def test_an_engine_that_is_named_and_not_here_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: NOT_INSTALLED)
    with pytest.raises(MissingExtraError, match=r"not installed: pip install 'starcast\[ncnn\]'"):
        plans_for(["ncnn"], [])


@pytest.mark.parametrize(("backends", "forms", "words"), [
    (["tvm"], [], "--for is tvm: give one or several of openvino, onnxruntime"),
    (["openvino", "ncnn"], ["plain"], "--forms names none that ncnn runs: add one of taps9, taps16"),
    (["openvino"], ["fast"], "--forms is 'fast': give one or several of plain, taps9"),
])  # fmt: skip
def test_engines_and_forms_that_are_unknown_or_do_not_fit_are_refused(backends, forms, words, monkeypatch):
    monkeypatch.setattr(type(ENGINES["ncnn"]), "absent", lambda _: None)
    with pytest.raises(OptionError, match=words):
        plans_for(backends, forms)


def test_a_graph_for_one_style_gives_each_picture_its_own_when_run_one_by_one(small: Any, tmp_path):
    trials = make_trials(small.model)
    made = make(ir.load(small.generator), Plan("taps9", ("onnxruntime",), one_style=True), small.config.image_size)
    assert made.product is not None
    ir.save(made.product, tmp_path / "product.onnx")
    candidate = OnnxCandidate(made.frame, tmp_path / "product.onnx", one_style=True)
    for trial in trials:
        expected = translated_by_torch(small.networks.generator, trial)
        np.testing.assert_allclose(candidate.unrounded(trial) / 127.5 - 1, expected, atol=1e-4)


def test_the_rewrite_that_goes_wrong_is_named(small: Any):
    def shift_a_weight(model: ir.Model) -> Outcome:
        weight = model.graph.initializers["to_rgb.2.weight"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.5, name=weight.name)
        return Outcome(1)

    def made(*rewrites: Callable[..., Any]) -> Made:
        steps = tuple(Step(rewrite, Outcome(1)) for rewrite in rewrites)
        return Made(Plan("taps9", ("onnxruntime",)), ir.load(small.generator), None, steps)

    trial = make_trials(small.model)[0]
    expected = translated_by_torch(small.networks.generator, trial)
    wrong = Rewrite("wrong", "change what should stay", shift_a_weight)
    traced = ir.load(small.generator)
    found = first_step_apart(traced, made(DEAD_BIASES, wrong), trial, expected, 1e-4)
    assert found == "the rewrite wrong (leave it out with --without wrong)"
    assert first_step_apart(traced, made(DEAD_BIASES), trial, expected, 1e-4) == "the steps after the rewrites"
