"""The search: which layers go back to float32, and when it stops."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from ncnn_frames import frame
from small_graphs import operators

from starcast.export.gate.candidates import Trial, before_rounding, open_session
from starcast.export.gate.quality import Gate, psnr
from starcast.export.graphs.cost import count_flop
from starcast.export.precision.codes import quantisable_layers
from starcast.export.precision.samples import CalibrationSet
from starcast.export.precision.search import SearchOptions, quantise

EASY, UNREACHABLE = Gate(mean=5, worst=0), Gate(mean=95, worst=90)


def test_a_gate_that_holds_anyway_keeps_nothing(rewritten, drawn, one_image):
    result = quantise(rewritten("taps9"), one_image, drawn, SearchOptions(gate=EASY))
    assert result.kept == ()
    assert result.psnr_before == result.psnr_after
    assert len(result.to_blame) == 3


def test_the_search_ends_where_too_much_would_be_float32(rewritten, drawn, one_image):
    lines: list[str] = []
    options = SearchOptions(gate=UNREACHABLE, most_float=0.2)
    result = quantise(rewritten("taps9"), one_image, drawn, options, lines.append)
    assert 0 < sum(part.flop_share for part in result.kept) <= 0.2
    assert len(lines) == len(result.kept)
    assert result.kept[0].layer in lines[0]
    assert not {part.layer for part in result.kept} & set(result.to_blame)
    assert result.psnr_after == pytest.approx(
        result.psnr_before + sum(part.psnr_gain for part in result.kept), abs=0.01 * (1 + len(result.kept))
    )


def test_kept_layers_read_no_codes(rewritten, drawn, one_image):
    result = quantise(rewritten("taps9"), one_image, drawn, SearchOptions(gate=UNREACHABLE, most_float=0.2))
    kept = {part.layer for part in result.kept}
    for node in result.model.graph:
        if node.op_type in {"Conv", "ConvTranspose"}:
            maker = node.inputs[1].producer()
            assert (maker is None) == (node.name in kept)


def noise_of(model, quantised, drawn):
    """PSNR of the search's images, by domain."""
    before, after = (open_session(before_rounding(one.clone())) for one in (model, quantised))
    noise = [
        psnr(*(np.clip(session.run(None, trial.feeds)[0], 0, 255) for session in (after, before)))
        for trial in drawn.search
    ]
    return [noise[domain :: len(drawn.gate)] for domain in range(len(drawn.gate))]


def test_the_psnr_is_that_of_the_graph_that_is_given_back_in_its_worst_domain(rewritten, drawn, one_image):
    model = rewritten("taps9")
    result = quantise(model, one_image, drawn, SearchOptions(gate=UNREACHABLE, most_float=0.1))
    noise = noise_of(model, result.model, drawn)
    assert result.psnr_after == pytest.approx(min(map(np.mean, noise)), abs=0.01)


def test_a_domain_below_the_gate_is_not_made_up_for_by_the_others(rewritten, drawn, one_image):
    model = rewritten("taps9")
    all_codes = quantise(model, one_image, drawn, SearchOptions(gate=EASY))
    means = [float(np.mean(part)) for part in noise_of(model, all_codes.model, drawn)]
    between = (min(means) + float(np.mean(means))) / 2
    assert min(means) < between - 0.01
    result = quantise(model, one_image, drawn, SearchOptions(gate=Gate(mean=between, worst=0), margin=0))
    assert result.kept


def test_the_search_goes_on_until_the_gates_own_images_hold(rewritten, drawn, one_image):
    lacking = iter((0.5, 0.1, -0.2))
    seen: list[ir.Model] = []

    def missing(model):
        seen.append(model)
        return next(lacking)

    lines: list[str] = []
    result = quantise(rewritten("taps9"), one_image, drawn, SearchOptions(gate=EASY), lines.append, missing)
    assert len(seen) == 3
    assert len(result.kept) >= 2
    assert sum("the search continues" in line for line in lines) == 2
    assert operators(result.model) == operators(seen[-1]) != operators(seen[0])


def test_the_search_ends_though_the_gates_own_images_never_hold(rewritten, drawn, one_image):
    options = SearchOptions(gate=EASY, most_float=0.05)
    result = quantise(rewritten("taps9"), one_image, drawn, options, missing=lambda model: 1.0)
    assert 0 < sum(part.flop_share for part in result.kept) <= 0.05


@pytest.mark.parametrize("form", ["taps9", "taps16", "phases"])
def test_the_layers_have_all_of_the_flop(rewritten, one_image, form):
    model = rewritten(form)
    layers = quantisable_layers(model, one_image)
    assert sum(layer.flop for layer in layers) == count_flop(model, one_image)
    assert sum(len(layer.nodes) for layer in layers) == operators(model)["Conv"] + operators(model)["ConvTranspose"]


def test_the_layer_that_hurts_is_the_first_to_be_kept():
    # b reads values of which one in a thousand is large: with 256 codes for all of them, the others have few.
    model = frame(
        "a = Conv (x, wa)  sharp = Mul (a, a)  sharper = Mul (sharp, sharp)  b = Conv (sharper, wb)  y = Mul (b, less)",
        wa=np.eye(3).reshape(3, 3, 1, 1) / 16, wb=np.eye(3).reshape(3, 3, 1, 1), less=0.01,
    )  # fmt: skip
    condition = model.graph.inputs[1]
    condition.name = "style"
    draws = np.random.RandomState(0)
    trials = tuple(
        Trial(draws.randint(0, 256, (1, 16, 16, 3)).astype(np.uint8), np.zeros((1, 6), np.float32)) for _ in range(4)
    )
    sizes = {"batch": 1, "styles": 1, "height": 16, "width": 16, "channels": 3}
    result = quantise(
        model, sizes, CalibrationSet(trials, trials, {"only": trials}), SearchOptions(gate=UNREACHABLE, most_float=0.6)
    )
    assert isinstance(result.model, ir.Model)
    assert [part.layer for part in result.kept] == ["b"]
    assert result.kept[0].flop_share == 0.5
