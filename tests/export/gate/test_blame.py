"""Which rewrite is named when a graph goes wrong; layers are in test_parity.py."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from starcast.export.gate.blame import first_step_apart
from starcast.export.gate.candidates import translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.passes.forms import DEAD_BIASES, Step
from starcast.export.passes.rule import Outcome, Rewrite


def test_the_rewrite_that_goes_wrong_is_named(small: Any):
    def shift_a_weight(model: ir.Model) -> Outcome:
        weight = model.graph.initializers["to_rgb.2.weight"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.5, name=weight.name)
        return Outcome(1)

    def steps(*rewrites: Rewrite) -> list[Step]:
        return [Step(rewrite, Outcome(1)) for rewrite in rewrites]

    trial = make_trials(small.model)[0]
    expected = translate_with_torch(small.networks.generator, trial)
    wrong = Rewrite("wrong", "change what should stay", shift_a_weight)
    traced = ir.load(small.generator)
    found = first_step_apart(traced, steps(DEAD_BIASES, wrong), trial, expected, 1e-4)
    assert found == "the rewrite wrong (leave it out with --without wrong)"
    assert first_step_apart(traced, steps(DEAD_BIASES), trial, expected, 1e-4) == "the steps after the rewrites"
