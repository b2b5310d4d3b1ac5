"""TensorRT-RTX fuses AFHQ's generator as meant: its program is read, on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from starcast.benchmarks.studies.adain_spellings import AFHQ, ENDS, OURS, RTX, program_of, trace_afhq
from starcast.export.gate.candidates import Trial
from starcast.export.plan import Plan
from starcast.export.targets.tensorrt import make_base, make_in_precision
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

TARGET = "sm89"
MOST_KERNELS, MOST_MEGABYTES = 100, 360  # of one 256 px image; as exported plainly: 140 and 694
NORMS = 25
RECORD = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "adain-spellings.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        FLAVOURS[RTX].absent() is not None, reason=f"TensorRT for RTX is {FLAVOURS[RTX].absent()}"
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ir.Model:
    """The graph that a bundle gets for TensorRT in fp16, its norms calibrated on one image."""
    draws = np.random.RandomState(0)
    image = draws.randint(0, 256, (1, AFHQ.image_size, AFHQ.image_size, 3)).astype(np.uint8)
    trials = [Trial(image, draws.standard_normal((1, AFHQ.style_dim)).astype(np.float32))]
    base, _ = make_base(trace_afhq(), "taps16", AFHQ.image_size, trials, trials)
    assert {norm.statistics for norm in base.norms} == {"one-pass"}
    plan = Plan("taps16", (RTX,), precision="fp16", norms="fused")
    return make_in_precision(base, plan, AFHQ.image_size).frame


@pytest.fixture(scope="module")
def program(model):
    return program_of(model, TARGET)


def test_an_image_takes_few_kernels_and_little_traffic(program):
    assert program.target == TARGET
    assert len(program.kernels) <= MOST_KERNELS
    assert program.megabytes(1) <= MOST_MEGABYTES


def test_no_native_norm_is_left(program):
    assert [kernel.name for kernel in program.kernels if "Inor" in kernel.name] == []
    assert program.reread_megabytes(1) == 0


def test_every_norm_is_applied_together_with_its_activation(model, program):
    norm_of = {}
    for node in model.graph:
        if node.op_type == "LeakyRelu":
            [shifted] = node.inputs
            norm_of[node.name] = shifted.producer().name.rpartition(".Add.")[0]
    assert len(norm_of) == NORMS
    together = [
        kernel
        for kernel in program.kernels
        for activation in set(kernel.nodes) & norm_of.keys()
        if any(name.startswith((f"{norm_of[activation]}.Sub.", f"{norm_of[activation]}.Mul.")) for name in kernel.nodes)
    ]
    assert len(together) == len(set(together)) == NORMS


def test_the_record_says_what_is_built_today(program):
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if record["machine"]["versions"][RTX] != FLAVOURS[RTX].version():
        pytest.skip("the record is of another version")
    [row] = [row for row in record["rows"] if (row["graph"], row["spelling"]) == (ENDS, OURS)]
    assert row["kernels"] == len(program.kernels)
    assert row["megabytes"] == pytest.approx(program.megabytes(1), abs=0.5)  # the record's has no biases
