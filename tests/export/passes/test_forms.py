"""Whole generators in every form: the numbers of PyTorch, the arithmetic of the reference."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import operators

from starcast.errors import OptionError
from starcast.export.gate.candidates import before_rounding, difference, open_session, translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.graphs.cost import count_flop
from starcast.export.passes.forms import FORMS, REWRITES, apply_form
from starcast.export.trace import trace_generator
from starcast.train.families.stargan_v2.networks import StarGANv2Config

# GFLOP of the AFHQ generator and how often each rewrite fires in it: the reference's table
AFHQ_GFLOP = {"plain": 97.29, "taps16": 62.93, "phases": 62.93, "taps9": 52.60}
AFHQ_FIRED = {
    "dead-biases": 25, "one-plus-gamma": 12, "style-products": 12, "shortcut": 6, "pooled-9": 4, "enlarged-9": 4,
    "interpolated-9": 0, "activation-gains": 0, "residual-scale": 12, "byte-range": 2,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_pytorchs_numbers(small, form):
    model = ir.load(small.generator)
    apply_form(model, form)
    cut = open_session(before_rounding(model))
    for trial in make_trials(small.model):
        [levels] = cut.run(None, trial.feeds)
        got = (levels.astype(np.float64) - 127.5) / 127.5
        assert difference(got, translate_with_torch(small.networks.generator, trial)) < 1e-4


@pytest.mark.parametrize("name", REWRITES)
def test_leaving_one_rewrite_out_leaves_the_numbers_as_they_are(small, name):
    [trial, *_] = make_trials(small.model)
    expected = translate_with_torch(small.networks.generator, trial)
    for form, rewrites in FORMS.items():
        if name in {rewrite.name for rewrite in rewrites}:
            model = ir.load(small.generator)
            steps = apply_form(model, form, without=(name,))
            assert name not in {step.rewrite.name for step in steps}
            [levels] = open_session(before_rounding(model)).run(None, trial.feeds)
            assert difference((levels.astype(np.float64) - 127.5) / 127.5, expected) < 1e-4


def test_no_multiplication_or_division_is_left_between_the_blocks(small):
    model = ir.load(small.generator)
    apply_form(model, "taps9")
    left = operators(model)
    adains = 2 * len(small.networks.generator.decode)
    assert left["Div"] == 0
    assert left["Mul"] == adains
    assert left["Gemm"] == 1


@pytest.fixture(scope="module")
def afhq(random_networks):
    config = StarGANv2Config(image_size=256, domains=3)
    return trace_generator(random_networks(config).generator, config.image_size, config.style_dim)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_afhq_generator_has_the_references_arithmetic(afhq, form):
    model = afhq.clone()
    fired = Counter({step.rewrite.name: step.outcome.fired for step in apply_form(model, form)})
    flop = count_flop(model, {"batch": 1, "styles": 1, "height": 256, "width": 256})
    assert flop / 1e9 == pytest.approx(AFHQ_GFLOP[form], abs=0.005)
    if form == "taps9":
        assert fired == AFHQ_FIRED


@pytest.mark.parametrize(("form", "without", "words"), [
    ("taps7", (), "--forms is 'taps7': give one of plain, taps9"),
    ("taps9", ("pooled",), "--without names 'pooled': the rewrites are dead-biases"),
])  # fmt: skip
def test_an_unknown_form_or_rewrite_is_refused_with_those_there_are(small, form, without, words):
    with pytest.raises(OptionError, match=words):
        apply_form(ir.load(small.generator), form, without)
