"""The checkerboard's truth, and what the export's spelling makes of it without a GPU."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from starcast.benchmarks.checks.check import WrongError, relative_error, require_errors_within
from starcast.benchmarks.checks.checkerboard import BETA, GAMMA, checkerboard, checkerboard_truth, write_norm


def test_the_checkerboard_has_a_mean_of_zero_and_squares_that_no_half_holds():
    board = checkerboard()
    assert board.dtype == np.float16
    assert board.astype(np.float64).mean() == 0
    assert board.astype(np.float64).std() == 512
    with np.errstate(over="ignore"):
        assert np.isinf(board * board).all()


def test_its_truth_is_the_norms_definition_in_float64():
    wide = checkerboard().astype(np.float64)
    whole = (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + 1e-5)
    y = whole * GAMMA[:, None, None] + BETA[:, None, None]
    np.testing.assert_allclose(checkerboard_truth(), np.where(y < 0, 0.2 * y, y), rtol=1e-12)


@pytest.mark.parametrize("statistics", ["one-pass", "two-pass"])
def test_the_exports_spelling_passes_the_check_when_every_operator_rounds(tmp_path, statistics):
    model = onnx.load(write_norm(tmp_path, statistics))
    assert "InstanceNormalization" not in {node.op_type for node in model.graph.node}
    [y] = ReferenceEvaluator(model).run(None, {"x": checkerboard()})
    assert relative_error(y, checkerboard_truth()) < 2e-3


def test_a_norm_that_squares_in_half_fails_it():
    board = checkerboard()
    with np.errstate(all="ignore"):
        variance = (board * board).mean((2, 3), keepdims=True, dtype=np.float16)
        y = board / np.sqrt(variance) * GAMMA[:, None, None].astype(np.float16)
        error = relative_error(y, checkerboard_truth())
    with pytest.raises(WrongError):
        require_errors_within({"fp16": error}, 2e-3)
    with pytest.raises(WrongError):  # Python's max passes over what is not a number, unless it stands first
        require_errors_within({"fp32": 0.0, "fp16": error}, 2e-3)
