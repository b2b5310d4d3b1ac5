"""The spellings that are compared all are the same norm, and the record holds them all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator
from small_graphs import gap, graph, operators

from starcast.benchmarks.studies.adain_spellings import (
    ENDS,
    OURS,
    ROWS,
    adain_spellings,
    floor_megabytes,
    spread_sums,
)
from starcast.benchmarks.studies.norm_spellings import SPELLINGS, write_norms
from starcast.runtime.engines.base import NOT_INSTALLED
from starcast.runtime.nvidia.tensorrt.flavours import Flavour

RECORD = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "adain-spellings.json"
NORM = "InstanceNormalization <epsilon = 0.00001>"
CHANNELS = 4
GAMMA, BETA = np.linspace(0.5, 2, CHANNELS), np.linspace(-1, 1, CHANNELS)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("styled", [True, False], ids=["style", "weights"])
def test_every_spelling_is_the_norm(spelling, styled):
    affine = "m = Mul (scale, n)  s = Add (m, shift)" if styled else "s = Identity (n)"
    weights = "one, nought" if styled else "gamma, beta"
    model = graph(
        f"n = {NORM} (x, {weights})  {affine}  y = Cast <to = 1> (s)", "float[batch, 4, H, W] x, "
        "float[1, 4, 1, 1] scale, float[1, 4, 1, 1] shift", "float[batch, 4, H, W] y",
        gamma=GAMMA, beta=BETA, one=np.ones(CHANNELS), nought=np.zeros(CHANNELS),
    )  # fmt: skip
    for value in [model.graph.inputs[0], *(node.outputs[0] for node in model.graph if node.op_type != "Cast")]:
        value.type = ir.TensorType(ir.DataType.FLOAT16)
    write_norms(model, spelling)
    x = (0.5 + np.random.RandomState(0).standard_normal((2, CHANNELS, 16, 16))).astype(np.float16)
    column = [array.astype(np.float32)[None, :, None, None] for array in (GAMMA, BETA)]
    inputs = dict(zip([str(value.name) for value in model.graph.inputs], [x, *column], strict=False))
    [got] = ReferenceEvaluator(ir.to_proto(model)).run(None, inputs)
    wide = x.astype(np.float64)
    normed = (wide - wide.mean(axis=(2, 3), keepdims=True)) / np.sqrt(wide.var(axis=(2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, normed * GAMMA[:, None, None] + BETA[:, None, None], atol=0.02)


def test_spread_sums_are_the_sums():
    nodes = (
        'u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
        " (small, , doubled)  y = Add (x, u)"
    )
    made = [
        graph(
            nodes, "float[N, 3, H, W] x, float[N, 3, H2, W2] small", "float[N, 3, H, W] y", doubled=[1.0, 1.0, 2.0, 2.0]
        )
        for _ in range(2)
    ]
    made[1].graph.append(ir.node("Identity", [made[1].graph.outputs[0]], name="end"))
    made[1].graph.outputs[0] = made[1].graph[-1].outputs[0]
    made[1].graph.outputs[0].name, made[1].graph.outputs[0].type = "z", made[1].graph.inputs[0].type
    spread_sums(made[1])
    assert "Resize" not in operators(made[1])
    draws = np.random.RandomState(0)
    x, small = (draws.standard_normal((2, 3, *size)).astype(np.float32) for size in ((6, 10), (3, 5)))
    assert gap(made[1], made[0], x, small) == 0


def test_the_floor_is_what_convolutions_read_and_write():
    model = graph(
        "c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)  l = LeakyRelu (c)  y = Conv (l, v)",
        "float[batch, 3, height, width] x", "float[batch, 5, 8, 8] y", w=np.ones((4, 3, 4, 4)), v=np.ones((5, 4, 1, 1)),
    )  # fmt: skip
    # a picture of bytes, then maps of halves
    assert floor_megabytes(model, side=16) == pytest.approx((3 * 16 * 16 + 2 * (4 + 4 + 5) * 8 * 8) / 1e6)


def test_the_record_has_every_row_and_ours_takes_least_of_those_that_are_used():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    rows = {(row["graph"], row["spelling"]): row for row in record["rows"]}
    assert list(rows) == [(row.graph, row.spelling) for row in ROWS]
    used = [row for (name, _), row in rows.items() if "spread" not in name]
    assert rows[ENDS, OURS]["megabytes"] == min(row["megabytes"] for row in used)
    assert rows[ENDS, OURS]["megabytes"] > record["floor"]["graphs"][ENDS]["megabytes"]
    assert "adain_spellings --json " in record["machine"]["command"]


def test_without_tensorrt_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(Flavour, "absent", lambda self: NOT_INSTALLED)
    result = CliRunner().invoke(adain_spellings, [])
    assert result.exit_code == 2
    assert "pip install 'starcast[tensorrt-rtx]'" in result.output


def test_an_unknown_generation_is_refused():
    result = CliRunner().invoke(adain_spellings, ["--target", "sm90"])
    assert result.exit_code == 2
    assert "sm120" in result.output
