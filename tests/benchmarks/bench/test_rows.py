"""How rows are named and chosen on the command line, and sent to their process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured_rows import row
from stand_in_gpu import SHORT, gpu_setting

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.gpu import NvidiaGpu
from starcast.benchmarks.bench.rows import choose_rows, peer_row, row_from_json, row_to_json
from starcast.errors import OptionError

PEERS = Cpu.peers
KEYS = [*PEERS, "ours-openvino-taps9-fp32", "ours-onnxruntime-taps9-fp32"]


def test_without_names_every_row_is_measured():
    assert choose_rows(KEYS, (), peers=PEERS) == KEYS


def test_names_may_be_patterns_and_the_baseline_is_always_there_and_first():
    assert choose_rows(KEYS, ("ours-openvino-*", "plain-*"), peers=PEERS) == [
        "eager", "plain-onnxruntime", "plain-openvino", "ours-openvino-taps9-fp32",
    ]  # fmt: skip


def test_a_name_that_fits_no_row_is_refused_with_those_that_there_are():
    with pytest.raises(OptionError, match=r"tensorflow.*eager.*ours-onnxruntime-taps9-fp32"):
        choose_rows(KEYS, ("eager", "tensorflow"), peers=PEERS)


def test_the_quick_rows_leave_out_what_has_to_be_compiled_or_calibrated_unless_it_is_named():
    quick = choose_rows(KEYS, (), peers=PEERS, quick=True)
    assert "compiled" not in quick
    assert "nncf-openvino" not in quick
    assert set(KEYS[-2:]) <= set(quick)
    assert choose_rows(KEYS, ("compiled",), peers=PEERS, quick=True) == ["eager", "compiled"]


@pytest.mark.parametrize(
    "sent",
    [
        row("ours-openvino-taps9-int8", source=Path("bündle"), size=(288, 512), batch=3, variant="a/b.onnx"),
        peer_row("eager-fp16", NvidiaGpu.peers["eager-fp16"], Path("weights.pt"), gpu_setting((64, 32), batch=3)),
        row("ours-openvino-taps9", source=Path("caf\udce9"), variant="a.onnx"),
        row("ours-torch", cache=Path("engines"), method=replace(SHORT, answer_s=None)),
    ],
    ids=["a bundle's", "a GPU's", "with a name that is not UTF-8", "with a cache"],
)
def test_a_row_and_its_method_arrive_as_they_were_sent(sent):
    assert row_from_json(row_to_json(sent)) == sent
