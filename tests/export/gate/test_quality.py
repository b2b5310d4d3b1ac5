"""PSNR and SSIM against their definitions in float64, and the gate."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from starcast.errors import EngineError, ParityError
from starcast.export.gate.candidates import Trial
from starcast.export.gate.quality import (
    below,
    check,
    measure_emulated,
    measure_on_engines,
    measure_quality,
    psnr,
    ssim,
    translate_in_float32,
    worse_of,
)
from starcast.export.passes.half import to_half
from starcast.export.passes.norm_decomposition import decompose_norms
from starcast.export.passes.style_split import split_off_style
from starcast.export.precisions import Gate, gate_of
from starcast.runtime.engines import openvino
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.openvino import OpenVINO
from starcast.runtime.variants import DomainQuality, Quality

INT8, BF16, FP16 = (gate_of(precision) for precision in ("int8", "bf16", "fp16"))


def image(seed: int, height: int = 14, width: int = 13):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def ssim_by_definition(x, y):
    """Window by window, as the paper has it."""
    steps = np.arange(11) - 5
    line = np.exp(-(steps**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for channel in range(3):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a, b = (z[row : row + 11, column : column + 11, channel].astype(np.float64) for z in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                variance_a = (weights * (a - mean_a) ** 2).sum()
                variance_b = (weights * (b - mean_b) ** 2).sum()
                covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
                found.append(
                    (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
                )  # fmt: skip
    return float(np.mean(found))


def quality(**domains: tuple[float, float]) -> Quality:
    return Quality(
        domains={
            name: DomainQuality(images=4, psnr_mean=mean, psnr_worst=worst, ssim_mean=0.9, ssim_worst=0.8)
            for name, (mean, worst) in domains.items()
        }
    )


def test_psnr_of_one_level_everywhere_is_that_of_the_peak():
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(grey + 1, grey) == pytest.approx(20 * math.log10(255))


def test_psnr_of_one_wrong_pixel_is_worked_out_by_hand():
    black = np.zeros((4, 5, 1), np.uint8)
    other = black.copy()
    other[1, 2] = 10  # a mean squared error of 100 / 20
    assert psnr(other, black) == pytest.approx(10 * math.log10(255**2 / 5))


def test_equal_images_have_100_db_and_likeness_1():
    assert psnr(image(0), image(0)) == 100
    assert ssim(image(0), image(0)) == pytest.approx(1, abs=1e-12)


def test_ssim_is_the_papers_window_by_window():
    noisy = np.clip(image(1).astype(int) + np.random.RandomState(2).randint(-30, 31, (14, 13, 3)), 0, 255)
    assert ssim(noisy.astype(np.uint8), image(1)) == pytest.approx(ssim_by_definition(noisy, image(1)), abs=1e-10)


def test_ssim_of_two_flat_images_is_that_of_their_levels():
    dark, light = np.full((12, 12, 3), 50, np.uint8), np.full((12, 12, 3), 100, np.uint8)
    c1 = 2.55**2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1))


@pytest.mark.parametrize(("usual", "mean", "expected"), [
    (INT8, None, INT8), (INT8, 25, Gate(25, 20)), (INT8, 3, Gate(3, 0)),
    (BF16, 50, Gate(50)), (FP16, 20, Gate(20, 20)),
])  # fmt: skip
def test_a_gate_that_is_moved_keeps_its_distance_from_mean_to_worst(usual, mean, expected):
    assert usual.moved_to(mean) == expected


def test_a_quality_has_mean_and_worst_of_each_domain():
    grey = np.full((1, 12, 12, 3), 100, np.uint8)
    trials = [Trial(grey, np.zeros((1, 4), np.float32)) for _ in range(2)]
    answers = iter([grey + 1, grey + 2])
    found = measure_quality(lambda _: next(answers), {"dog": [grey, grey]}, {"dog": trials}).domains["dog"]
    one, two = 20 * math.log10(255), 20 * math.log10(255 / 2)
    assert found.images == 2
    assert found.psnr_mean == pytest.approx((one + two) / 2, abs=0.005)
    assert found.psnr_worst == pytest.approx(two, abs=0.005)


def test_of_two_engines_the_lower_numbers_count():
    both = worse_of(quality(cat=(36, 33), dog=(40, 31)), quality(cat=(37, 32), dog=(39, 35)))
    assert [(domain.psnr_mean, domain.psnr_worst) for domain in both.domains.values()] == [(36, 32), (39, 31)]


@pytest.mark.parametrize(("found", "gate", "words"), [
    (quality(cat=(35, 30)), INT8, None),
    (quality(cat=(36, 33), dog=(34.9, 33)), INT8, "34.9 dB on average and 33.0 dB at worst for the domain 'dog'"),
    (quality(cat=(38, 29), dog=(34.9, 33)), INT8, "38.0 dB on average and 29.0 dB at worst for the domain 'cat'"),
    (quality(cat=(39.9, 39)), BF16, "39.9 dB"),
    (quality(cat=(34.97, 31)), INT8, "34.9 dB on average and 31.0 dB at worst"),
    (quality(cat=(31, 28)), Gate(mean=30, worst=25), None),
], ids=["just enough", "mean", "worst", "bf16", "by little", "lowered"])  # fmt: skip
def test_the_gate_names_the_domain_that_misses_it_by_most(found, gate, words):
    missing = below(found, gate)
    assert missing is None if words is None else words in str(missing)


def test_below_the_gate_the_layers_to_blame_are_named():
    with pytest.raises(
        ParityError, match="int8 .* 28.0 dB .* lost in to_rgb.2 and decode.3.conv1x1: .*--calibrate DIR"
    ):
        check(quality(cat=(31, 28)), INT8, "int8", ["to_rgb.2", "decode.3.conv1x1"])


def test_float32_is_as_good_as_float32_on_every_engine(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    expected = translate_in_float32(model, drawn.gate)
    found = measure_on_engines([OnnxRuntime(), OpenVINO()], Graph(tmp_path / "graph.onnx"), drawn.gate, expected)
    assert set(found.domains) == set(drawn.gate)
    # the engines' bytes differ by at most 1, and seldom
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


def test_a_graph_that_takes_scales_and_shifts_is_given_them(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    expected = translate_in_float32(model, drawn.gate)
    product = split_off_style(model)
    assert product is not None
    ir.save(model, tmp_path / "graph.onnx")
    ir.save(product, tmp_path / "product.onnx")
    files = tmp_path / "graph.onnx", tmp_path / "product.onnx"
    found = measure_on_engines([OnnxRuntime()], Graph(files[0]), drawn.gate, expected, files[1])
    assert min(domain.psnr_worst for domain in found.domains.values()) > 48.1


@pytest.mark.skipif(openvino.lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_bf16_is_measured_where_the_processor_has_it(rewritten, drawn, tmp_path):
    model = rewritten("taps9")
    ir.save(model, tmp_path / "graph.onnx")
    expected, graph = translate_in_float32(model, drawn.gate), Graph(tmp_path / "graph.onnx", precision="bf16")
    found = measure_on_engines([OpenVINO()], graph, drawn.gate, expected)
    assert all(30 < domain.psnr_mean < 100 for domain in found.domains.values())


def test_an_emulation_of_half_is_a_little_off_and_one_of_bfloat16_more(rewritten, drawn):
    model = rewritten("phases")
    expected = translate_in_float32(model, drawn.gate)
    found = {}
    for kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        made = rewritten("phases")
        to_half(made, kind)
        decompose_norms(made, 32, {})
        quality = measure_emulated(made, drawn.gate, expected)
        assert set(quality.domains) == set(drawn.gate)
        found[kind] = np.mean([domain.psnr_mean for domain in quality.domains.values()])
    # three bits of fraction less are 18 dB; the bytes' own rounding takes some of it
    assert 10 < found[ir.DataType.FLOAT16] - found[ir.DataType.BFLOAT16] < 19


class _OldCore:
    available_devices = ("CPU",)

    @staticmethod
    def get_property(device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "INT8"]


def test_a_processor_without_bf16_says_so_and_names_the_precision_that_works(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "_core", _OldCore)
    with pytest.raises(
        EngineError, match="cannot be run in bf16 here .*no bfloat16 instructions.*: use --precision fp32"
    ):
        OpenVINO().open(Graph(tmp_path / "graph.onnx", precision="bf16"), EngineOptions())
