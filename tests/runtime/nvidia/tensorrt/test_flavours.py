from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType

import pytest

from starcast.errors import MissingExtraError
from starcast.runtime.engines.base import NOT_INSTALLED, Absence
from starcast.runtime.nvidia.tensorrt.build_options import ENGINES, PRECISIONS
from starcast.runtime.nvidia.tensorrt.flavours import FIRST_WITH, FLAVOURS, too_old_for

FULL, RTX = FLAVOURS["tensorrt"], FLAVOURS["tensorrt-rtx"]


def _module(name: str, version: str) -> ModuleType:
    import importlib.machinery

    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


def test_the_generations_are_those_of_the_library():
    trt = pytest.importorskip("tensorrt_rtx")
    known = {name.lower() for name in vars(trt.ComputeCapability) if name.startswith("SM")}
    assert set(RTX.targets) == known


def test_the_options_name_every_flavour_and_every_precision_that_is_limited():
    assert set(ENGINES) == set(FLAVOURS)
    assert set(FIRST_WITH) < set(PRECISIONS)


def test_only_tensorrt_for_rtx_builds_ahead_of_time():
    assert RTX.ahead_of_time
    assert not FULL.ahead_of_time


def test_what_is_not_installed_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert RTX.absent() == NOT_INSTALLED
    with pytest.raises(MissingExtraError, match=r"pip install 'starcast\[tensorrt-rtx\]'"):
        RTX.load()


def test_bindings_without_their_libraries_are_absent_with_the_loaders_words(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvonnxparser.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    reason = "installed, but does not load: libnvonnxparser.so.11: cannot open shared object file"
    assert FULL.absent() == Absence(reason, pip_helps=False)


def test_the_folder_that_an_uninstalled_package_leaves_is_no_library(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert FULL.absent() == Absence("installed, but does not load: it is an empty folder", pip_helps=True)
    sys.modules.pop("tensorrt", None)


@pytest.mark.parametrize(("installed", "cuda"), [
    ("tensorrt-cu13-libs", 13), ("tensorrt-cu12-libs", 12), ("tensorrt-rtx-cu13-libs", None),
])  # fmt: skip
def test_the_cuda_of_the_libraries_stands_in_the_name_of_their_package(monkeypatch, installed, cuda):
    def version(name: str) -> str:
        if name != installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "11.4.0.106"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert FULL.cuda() == cuda


def test_the_package_that_is_here_is_found():
    pytest.importorskip("tensorrt_rtx")
    assert RTX.cuda() in {12, 13}


@pytest.mark.parametrize(("version", "reason"), [
    ("10.11.0.33", "installed, but version 10.11.0.33 is too old: 10.12 or newer is needed"),
    ("8.6.1", "installed, but version 8.6.1 is too old: 10.12 or newer is needed"),
    ("10.12.0.36", None),
    ("11.4.0.106", None),
])  # fmt: skip
def test_a_release_before_strong_typing_alone_is_too_old_and_pip_brings_a_newer_one(monkeypatch, version, reason):
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt", version))
    assert FULL.absent() == (None if reason is None else Absence(reason, pip_helps=True))


@pytest.mark.parametrize(("precision", "target", "reason"), [
    ("fp8", "sm75", "sm75 has no fp8, which starts with sm89"),
    ("fp8", "sm86", "sm86 has no fp8, which starts with sm89"),
    ("fp8", "sm89", None),
    ("fp8", "sm90", None),
    ("fp8", "sm120", None),  # a number, not text
    ("bf16", "sm75", "sm75 has no bf16, which starts with sm80"),
    ("bf16", "sm80", None),
    ("fp16", "sm75", None),
    ("int8", "sm75", None),
])  # fmt: skip
def test_precisions_have_a_first_generation(precision, target, reason):
    assert too_old_for(precision, target) == reason
