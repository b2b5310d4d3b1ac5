"""Frame graphs for the CPU's engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from starcast.export.gate.candidates import OnnxCandidate, translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.plan import Plan
from starcast.export.targets.onnx import make_float32


def test_a_graph_for_one_style_gives_each_image_its_own_when_run_one_by_one(small: Any, tmp_path):
    trials = make_trials(small.model)
    made = make_float32(
        ir.load(small.generator), Plan("taps9", ("onnxruntime",), one_style=True), small.config.image_size
    )
    assert made.product is not None
    ir.save(made.product, tmp_path / "product.onnx")
    candidate = OnnxCandidate(made.frame, tmp_path / "product.onnx", one_style=True)
    for trial in trials:
        expected = translate_with_torch(small.networks.generator, trial)
        np.testing.assert_allclose(candidate.translate_unrounded(trial) / 127.5 - 1, expected, atol=1e-4)
