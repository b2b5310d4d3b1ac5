"""Engines held to AVX2: the question that is answered, what is left alone, and that it takes effect."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from starcast.benchmarks.studies import held_to_avx2 as module
from starcast.benchmarks.studies.held_to_avx2 import copy_held, held_to_avx2, hold_code, keeps_vnni
from starcast.errors import EngineError
from starcast.runtime.machine import processor

XGETBV = b"\x0f\x01\xd0"
# sums of products u8 * s8 in pairs of 16 bits saturate without VNNI: 255 * 127 twice is over 32,767
SATURATES = """
import numpy, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
graph = helper.make_graph(
    [helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "g",
    [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 64])],
    [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 16])],
    [numpy_helper.from_array(numpy.full((64, 16), 127, numpy.int8), "b")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(session.run(None, {"a": numpy.full((1, 64), 255, numpy.uint8)})[0].max())
"""


def test_the_question_is_answered_in_as_many_bytes():
    code = b"\x31\xc9" + XGETBV + b"\xf7\xd0" + b"\x89\xf1" + XGETBV
    changed, count = hold_code(code)
    assert (count, len(changed)) == (2, len(code))
    assert XGETBV not in changed
    assert hold_code(changed) == (changed, 0)


@pytest.mark.parametrize("before", [b"\x83\xe0", b"\xc1\xc8"], ids=["and eax, 15; add eax, edx", "a rotation"])
def test_bytes_that_only_look_like_the_question_stay(before):
    assert hold_code(before + XGETBV) == (before + XGETBV, 0)


def test_a_package_that_is_not_there_or_asks_nothing_is_refused(tmp_path, monkeypatch):
    with pytest.raises(EngineError, match="no_such_engine is not installed"):
        copy_held("no_such_engine", tmp_path)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    (quiet / "__init__.py").touch()
    (quiet / "quiet.so").write_bytes(b"\x90" * 64)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError, match="and cannot be limited to AVX2: leave it out"):
        copy_held("quiet", tmp_path / "copy")


@pytest.fixture
def without_amx(monkeypatch):
    monkeypatch.setattr(module, "processor", lambda: replace(processor(), instruction_sets=("AVX2",)))


def test_a_processor_with_amx_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "processor", lambda: replace(processor(), instruction_sets=("AVX2", "AMX")))
    result = CliRunner().invoke(held_to_avx2, [str(tmp_path)])
    assert result.exit_code == 1
    assert "this CPU has AMX" in result.output


@pytest.mark.usefixtures("without_amx")
@pytest.mark.parametrize("kept", [False, True])
def test_the_command_says_what_a_copy_keeps(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(module, "PACKAGES", ())
    monkeypatch.setattr(module, "keeps_vnni", lambda: kept)
    result = CliRunner().invoke(held_to_avx2, [str(tmp_path)])
    assert ("AVX-VNNI" in result.stderr) is kept
    assert "AVX-VNNI" not in result.stdout  # which is to be exported


@pytest.mark.usefixtures("without_amx")
def test_the_command_ends_with_the_variables_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ())
    result = CliRunner().invoke(held_to_avx2, [str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout.split()[0] == f"PYTHONPATH={tmp_path}"
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in result.stdout


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "VNNI" not in processor().instruction_sets or keeps_vnni(),
    reason="only a processor with AVX-512's VNNI, and not AVX's, shows whether ONNX Runtime does without it",
)
def test_onnx_runtime_does_without_vnni_when_it_is_held(tmp_path):
    assert copy_held("onnxruntime", tmp_path) > 0

    def largest(**changes: str) -> int:
        command = [sys.executable, "-c", SATURATES]
        return int(
            subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **changes}).stdout
        )

    assert largest() == 64 * 255 * 127
    assert largest(PYTHONPATH=str(tmp_path)) == 32 * (2**15 - 1)
