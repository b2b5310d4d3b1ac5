"""What graphs are compared with: images chosen once an export, and float32's translations of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from starcast.errors import OptionError
from starcast.export.gate import judge as judge_module
from starcast.export.gate.judge import Judge, unmeasurable
from starcast.export.options import ExportOptions
from starcast.export.plan import PREFERRED, Plan, plans_for
from starcast.export.precision.samples import DRAWN_GATE
from starcast.export.precisions import Gate, gate_of
from starcast.export.source import read_source

HALF, CODES = ("fp16",), ("int8",)


@pytest.fixture
def judged(small_checkpoint):
    """A function (precisions, options) -> (a judge of TensorRT's graphs, the lines that it shows)."""

    def make(precision: tuple[str, ...], **others) -> tuple[Judge, list[str]]:
        options = ExportOptions(backends=("tensorrt",), precision=precision, **others)
        source = read_source(small_checkpoint, options, lambda _: None)
        lines: list[str] = []
        judge = Judge(source, options, plans_for(options), lines.append)
        assert lines.pop(0).startswith("translated the gate's images with PyTorch")
        return judge, lines

    return make


def test_drawn_images_are_taken_where_none_are_required(judged):
    judge, lines = judged(HALF)
    assert [len(trials) for trials in judge.images.gate.values()] == [DRAWN_GATE] * 3
    [line] = lines
    assert line.startswith("calibrating on drawn images: ")
    assert line.endswith("gone is gone: give a folder of them with --calibrate DIR")


def test_a_folder_that_was_named_is_never_replaced_by_drawn_images(judged, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="empty has 0 readable images"):
        _ = judged(HALF, calibrate=tmp_path / "empty")[0].images


def test_without_images_what_requires_them_is_refused(judged):
    with pytest.raises(OptionError, match="there are no images to calibrate on"):
        _ = judged(CODES)[0].images


def test_float32s_translations_are_made_once_and_only_when_asked_for(judged):
    judge, lines = judged(HALF)
    judge.prepare(PREFERRED["tensorrt"])
    assert lines == []
    judge.prepare(Plan("taps16", ("tensorrt",), precision="fp16", norms="fused"))
    assert len(lines) == 2
    assert judge.expected is judge.expected
    assert len(lines) == 2
    assert judge.expected["ink"][0].shape == (1, 32, 32, 3)


def test_a_psnr_that_was_asked_for_moves_the_gate(judged):
    assert judged(HALF)[0].gate("int8") == gate_of("int8")
    assert judged(HALF, min_psnr=25)[0].gate("int8") == Gate(25, 20)


@pytest.mark.parametrize(("plan", "needs_bf16"), [
    (Plan("taps9", ("openvino",), precision="bf16"), True),
    (Plan("taps9", ("openvino",), precision="int8", rest="bf16"), True),
    (Plan("taps9", ("openvino",), precision="int8"), False),
    (Plan("phases", ("tensorrt",), precision="bf16", norms="fused"), False),
])  # fmt: skip
def test_only_openvinos_bf16_needs_a_processor_that_has_it(plan, needs_bf16, monkeypatch):
    monkeypatch.setattr(judge_module, "lacks", lambda _: "an old processor has no bfloat16 instructions")
    assert unmeasurable(plan) == ("an old processor has no bfloat16 instructions" if needs_bf16 else None)
