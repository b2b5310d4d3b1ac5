"""The one table of precisions."""

from __future__ import annotations

import pytest

from starcast.export.precisions import CPU_ENGINES, PRECISIONS, TENSORRT, Gate, gate_of, precisions_for
from starcast.runtime.options import PRECISIONS as NAMES


def test_the_runtime_knows_the_precisions_that_export_writes():
    assert tuple(PRECISIONS) == NAMES


def test_precisions_are_those_of_any_engine_that_is_asked_for():
    assert precisions_for(CPU_ENGINES) == ("fp32", "bf16", "int8")
    assert precisions_for(["onnxruntime"]) == ("fp32", "int8")
    assert precisions_for([TENSORRT]) == NAMES


@pytest.mark.parametrize(("precision", "gate"), [
    ("fp16", Gate(40, 40)), ("bf16", Gate(40)), ("int8", Gate(35, 30)), ("fp8", Gate(30)),
])  # fmt: skip
def test_every_precision_below_float32_has_its_gate(precision, gate):
    assert gate_of(precision) == gate


def test_a_psnr_that_was_asked_for_moves_mean_and_worst_alike():
    assert PRECISIONS["int8"].gate_for(25) == Gate(25, 20)
