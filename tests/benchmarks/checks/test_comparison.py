"""Translations against PyTorch's: the gates, and a whole comparison on a CPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.benchmarks.checks.comparison import compare, export_random_bundle, judge, plugin_form
from starcast.errors import VariantMissingError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import NOT_INSTALLED, Absence
from starcast.runtime.engines.registry import ENGINES
from starcast.train.families.stargan_v2.networks import StarGANv2Config

SMALL = StarGANv2Config(
    image_size=32, domains=3, style_dim=8, latent_dim=4, mapping_width=16, channel_base=256, max_channels=16
)
GREY = np.full((2, 8, 8, 3), 100, np.uint8)


@pytest.mark.parametrize(
    ("precision", "off", "passes"),
    [
        ("fp32", 1, True), ("fp32", 2, False),
        ("fp16", 2, True), ("fp16", 3, False),  # 42.1 and 38.6 dB
        ("bf16", 2, True), ("int8", 4, True), ("int8", 5, False), ("fp8", 8, True), ("fp8", 9, False),
    ],
)  # fmt: skip
def test_each_precision_has_the_gate_of_the_export(precision, off, passes):
    found = judge(GREY + np.uint8(off), GREY, precision, 0.0)
    assert found.passed is passes
    assert found.figures["levels"] == off
    assert found.figures["psnr_mean"] == pytest.approx(20 * np.log10(255 / off), abs=0.01)


def test_one_picture_far_off_fails_where_the_worst_counts():
    got = GREY.copy()
    got[1] += 6  # 32.6 dB, and 66 dB in the mean
    assert not judge(got, GREY, "fp16", 0.0).passed
    assert judge(got, GREY, "bf16", 0.0).passed


def test_styles_that_are_off_fail_whatever_the_pictures_are():
    assert not judge(GREY, GREY, "fp32", 0.01).passed


def test_a_random_networks_gate_is_lower():
    assert not judge(GREY + np.uint8(9), GREY, "fp16", 0.0).passed
    assert judge(GREY + np.uint8(9), GREY, "fp16", 0.0, min_psnr=20.0).passed


@pytest.mark.slow
def test_a_random_bundle_is_prepared_and_compared(tmp_path):
    export_random_bundle(tmp_path, SMALL, ["tensorrt"])
    found = compare("onnxruntime", "fp32", tmp_path)
    assert found.passed, found.sentence
    assert found.figures["style_error"] < 1e-5
    bundle = open_bundle(tmp_path / "bundle")
    assert [plugin_form(bundle, precision) for precision in ("fp32", "fp16", "bf16")] == [
        "taps16-plugin", "taps16-plugin", "phases-plugin",
    ]  # fmt: skip


def test_without_a_tensorrt_nothing_is_made_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ENGINES["tensorrt"], "absent", lambda: NOT_INSTALLED)
    monkeypatch.setattr(
        ENGINES["tensorrt-rtx"], "absent", lambda: Absence("installed, but made for others", pip_helps=False)
    )
    export_random_bundle(tmp_path, SMALL)
    variants = open_bundle(tmp_path / "bundle").manifest.variants
    assert {variant.precision for variant in variants} == {"fp32"}
    assert compare("torch", "fp16", tmp_path).passed


def test_a_bundle_without_graphs_for_the_plugin_is_told_the_line_that_makes_them(tiny_bundle):
    with pytest.raises(
        VariantMissingError, match="no graph in fp16 for the plugin: starcast export .* --adain-forms plugin"
    ):
        plugin_form(open_bundle(tiny_bundle), "fp16")
