"""Which pictures a bundle's variants are judged by."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from starcast.errors import OptionError
from starcast.export.gate.judging import Pictures, judging
from starcast.export.precision.samples import DRAWN_GATE
from starcast.export.precisions import Gate, gate_of
from starcast.export.write_variants import Making

pytestmark = pytest.mark.xdist_group("small graphs")

NAMES = ("ink", "photo", "chalk")


@pytest.fixture
def making(small, tmp_path) -> tuple[Making, list[str]]:
    """What variants are made from, and the lines that were said."""
    lines: list[str] = []
    traced = ir.load(small.generator)
    return Making(tmp_path, traced, small.model, {}, (), lines.append), lines


def pictures(folder: Path | None = None, min_psnr: float | None = None) -> Pictures:
    return Pictures(folder, None, min_psnr)


def test_drawn_pictures_are_taken_where_none_are_required(making):
    judged = judging(making[0], pictures(), required=False)
    assert [len(trials) for trials in judged.pictures.gate.values()] == [DRAWN_GATE] * 3
    [line] = making[1]
    assert line.startswith("calibrating on drawn pictures: ")
    assert line.endswith("as the checkpoint names no training set: give a folder of them with --calibrate DIR")


def test_a_folder_that_was_named_is_never_replaced_by_drawn_pictures(making, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="empty has 0 pictures"):
        judging(making[0], pictures(tmp_path / "empty"), required=False)


def test_without_pictures_what_requires_them_is_refused(making):
    with pytest.raises(OptionError, match="there are no pictures to calibrate on"):
        judging(making[0], pictures(), required=True)


def test_float32s_translations_are_made_once_and_only_when_asked_for(making):
    judged = judging(making[0], pictures(), required=False)
    assert len(making[1]) == 1
    assert judged.expected is judged.expected
    assert len(making[1]) == 2
    assert judged.expected["ink"][0].shape == (1, 32, 32, 3)


def test_a_psnr_that_was_asked_for_moves_the_gate(making):
    assert judging(making[0], pictures(), required=False).gate("int8") == gate_of("int8")
    assert judging(making[0], pictures(min_psnr=25), required=False).gate("int8") == Gate(25, 20)
