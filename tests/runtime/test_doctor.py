from __future__ import annotations

import onnx
import onnx.parser
import pytest
from click.testing import CliRunner

from starcast.cli import root
from starcast.errors import EngineError
from starcast.runtime import doctor
from starcast.runtime.doctor import (
    PROBE,
    Diagnosis,
    EngineStatus,
    Extra,
    examine,
    missing_for,
    onnxruntime_warnings,
    render_text,
)
from starcast.runtime.engines.base import Absence, Engine
from starcast.runtime.engines.openvino import OpenVINO
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.machine import Processor

CPU = Processor(
    name="AMD Whatever", instruction_sets=("AVX2", "VNNI"), cores=16, allowed=4, quota=3.5, engine_threads=2,
    memory=8 * 2**30,
)  # fmt: skip


def _diagnosis(**changes: object) -> Diagnosis:
    engines = (
        EngineStatus(
            name="openvino", version="2026.4", devices=("CPU",), refused=(("GPU", "no driver"),), install="line a"
        ),
        EngineStatus(
            name="onnxruntime", version=None, absent=Absence("not installed", pip_helps=True), install="line b"
        ),
    )
    extras = (Extra(name="train", purpose="starcast train", missing=("torch", "tensorboard")),)
    facts = {"engines": engines, "extras": extras, "processor": CPU, "gpus": (), "warnings": (), **changes}
    return Diagnosis(**facts)


def test_the_probe_is_the_graph_that_its_comment_says():
    text = '<ir_version: 8, opset_import: ["": 17]> probe (float[2] x) => (float[2] y) { y = Add (x, x) }'
    assert onnx.load_from_string(PROBE) == onnx.parser.parse_model(text)


def test_this_machine_is_examined():
    diagnosis = examine()
    here = [name for name, engine in ENGINES.items() if engine.absent() is None]
    assert [engine.name for engine in diagnosis.engines if engine.absent is None] == here
    assert all(engine.version for engine in diagnosis.engines if engine.devices)


def test_the_command_says_it_and_ends_with_0():
    result = CliRunner().invoke(root, ["doctor"], standalone_mode=False, catch_exceptions=False)
    assert not result.return_value
    assert result.exit_code == 0
    for words in ("CPU ", "instruction sets", "cores", "memory", "GPU", "openvino", "onnxruntime", "train"):
        assert words in result.stdout


@pytest.mark.parametrize("words", [
    "AMD Whatever", "AVX2, VNNI", "16, of which this process may use 4, container's quota 3.5", "8.0 GiB",
    "models  7", "opens a graph on CPU; not on GPU (no driver)", "not installed: line b",
    "without torch, tensorboard: pip install 'starcast[train]'",
])  # fmt: skip
def test_the_text_says_what_is_here_and_how_to_get_the_rest(words):
    assert words in render_text(_diagnosis(measured=7))


def test_cards_are_named_or_none():
    assert "GPU               none" in render_text(_diagnosis())
    assert "NVIDIA L4, driver 570" in render_text(_diagnosis(gpus=("NVIDIA L4, driver 570",)))


def test_a_warning_stands_at_the_end():
    assert render_text(_diagnosis(warnings=("mind this",))).splitlines()[-1] == "Warning: mind this"


def test_two_onnxruntimes_together_are_warned_of():
    assert onnxruntime_warnings({"onnxruntime"}) == []
    assert onnxruntime_warnings(set()) == []
    [warning] = onnxruntime_warnings({"onnxruntime-gpu", "onnxruntime"})
    assert "onnxruntime and onnxruntime-gpu are installed together" in warning
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in warning


def test_without_an_engine_the_lines_stand_in_a_warning(monkeypatch):
    monkeypatch.setattr(OpenVINO, "absent", lambda self: Absence("not installed", pip_helps=True))
    monkeypatch.setattr(doctor, "ENGINES", {"openvino": OpenVINO()})
    diagnosis = examine()
    assert diagnosis.warnings[0] == "no engine can translate here: pip install 'starcast[openvino]'"
    assert "absent" in render_text(diagnosis)


def test_what_an_extra_lacks_is_read_from_the_packages_own_requirements():
    requirements = [
        "click>=8", "no-such-a>=1; extra == 'train'", 'no-such-b; extra == "train"', "numpy; extra == 'train'",
        "no-such-c; extra == 'training'",
    ]  # fmt: skip
    assert missing_for("train", requirements) == ("no-such-a", "no-such-b")


class OnGpu(Engine):
    """An engine for a GPU: what is said of it depends on the GPU."""

    name, extra = "tensorrt-rtx", "tensorrt-rtx"

    def __init__(self, absent=None, pip_helps=False, devices=None) -> None:
        self._absent = None if absent is None else Absence(absent, pip_helps)
        self._devices = devices or {}

    def absent(self):
        return self._absent

    def open(self, graph, options):
        raise AssertionError("doctor opens no graph of a bundle")

    def version(self) -> str:
        return "1.7.1"

    def devices(self, graph):
        if isinstance(self._devices, EngineError):
            raise self._devices
        return self._devices


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (OnGpu("not installed", pip_helps=True), "not installed: pip install 'starcast[tensorrt-rtx]'"),
        (OnGpu("installed, but no NVIDIA driver is installed"), "installed, but no NVIDIA driver is installed\n"),
        (OnGpu("installed, but the NVIDIA driver shows no GPU"), "installed, but the NVIDIA driver shows no GPU\n"),
        (OnGpu(devices={"RTX 4090": None}), "opens a graph on RTX 4090\n"),
        (
            OnGpu(devices={"RTX 4090": "no engine has been built for it: `starcast build BUNDLE`"}),
            "on no device; not on RTX 4090 (no engine has been built for it: `starcast build BUNDLE`)\n",
        ),
        (OnGpu(devices=EngineError("others may write there")), "not on the GPU (others may write there)\n"),
    ],
    ids=["no package", "no driver", "no card", "ready", "no engine", "an unsafe cache"],
)
def test_each_way_for_a_cards_engine_to_be_absent_is_explained(monkeypatch, engine, words):
    monkeypatch.setattr(doctor, "ENGINES", {engine.name: engine})
    assert words in render_text(examine()) + "\n"


def test_engines_that_were_built_are_counted():
    assert "engines  3" in render_text(_diagnosis(built="3"))
