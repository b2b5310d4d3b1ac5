from __future__ import annotations

import subprocess
import sys

import pytest

from starcast.runtime import machine as module
from starcast.runtime import memory
from starcast.runtime.machine import gpus, processor, sets_in_cpuinfo


@pytest.mark.parametrize(("text", "sets"), [
    ("processor : 0\nmodel name : X\nflags\t\t: fpu sse2 avx avx2 fma\n\nprocessor : 1\n", ("AVX2",)),
    ("flags : avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16\n",
     ("AVX2", "AVX-512", "VNNI", "BF16", "FP16", "AMX")),
    ("Features\t: fp asimd asimdhp asimddp sve i8mm bf16\n", ("BF16", "FP16", "NEON", "DOTPROD", "I8MM", "SVE")),
    ("flags : avx512f_lookalike\n", ()),
    ("", ()),
], ids=["AVX2", "AMX", "ARM", "a longer word", "empty"])  # fmt: skip
def test_instruction_sets_are_whole_words_of_the_flags(text, sets):
    assert sets_in_cpuinfo(text) == sets


def test_this_machine_has_a_name_cores_and_memory():
    found = processor()
    assert found.name
    assert 1 <= found.allowed <= found.cores
    assert found.memory is None or found.memory > 2**27


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc/cpuinfo")
def test_numpy_and_the_system_agree_on_avx2(monkeypatch):
    told = module._instruction_sets()
    monkeypatch.setattr(module, "_cpuinfo", lambda: None)
    assert ("AVX2" in module._instruction_sets()) == ("AVX2" in told)


@pytest.fixture
def nvidia_smi(monkeypatch):
    def answer(result: object) -> None:
        def run(*_: object, **__: object) -> object:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(module.shutil, "which", lambda _: "nvidia-smi")
        monkeypatch.setattr(module.subprocess, "run", run)

    return answer


def _done(status: int, output: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, output, "")


def test_every_gpu_is_named_with_its_driver(nvidia_smi):
    nvidia_smi(_done(0, "NVIDIA H100, 570.1, 81559 MiB\nNVIDIA L4, 570.1, 23034 MiB\n"))
    assert gpus() == ("NVIDIA H100, driver 570.1, 81559 MiB", "NVIDIA L4, driver 570.1, 23034 MiB")


@pytest.mark.parametrize(("result", "words"), [
    (_done(9, "NVIDIA-SMI has failed because\nmore"), r"nvidia-smi fails (NVIDIA-SMI has failed because)"),
    (_done(6, ""), "nvidia-smi fails (no message)"),
    (subprocess.TimeoutExpired("nvidia-smi", 15), "nvidia-smi does not answer"),
    (OSError("exec format error"), "nvidia-smi does not answer"),
], ids=["no driver", "silent", "hangs", "cannot run"])  # fmt: skip
def test_a_driver_that_does_not_answer_is_reported(nvidia_smi, result, words):
    nvidia_smi(result)
    [line] = gpus()
    assert line.startswith(words)


def test_without_nvidia_smi_there_are_no_gpus(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert gpus() == ()


@pytest.mark.skipif(sys.platform == "win32", reason="containers of Windows show their own memory")
def test_the_memory_is_no_more_than_the_container_allows(monkeypatch):
    monkeypatch.setattr(memory, "_group_limits", lambda: [(2**28, 2**20)])
    if module.processor().memory is None:
        pytest.skip("this system does not tell its memory")
    assert module.processor().memory == 2**28
