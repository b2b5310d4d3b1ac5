"""The plugin as TensorRT's Python layer takes it, which checks names and annotations and is played here by a few lines.

Those of tensorrt 10.16.1.11 and 11.4.0.106 took it too, over a stand-in for their library; no card has.
"""

from __future__ import annotations

import enum
import inspect
import sys
import typing
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from starcast.errors import EngineError, MissingExtraError
from starcast.kernels.ptx import parameters
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import plugin
from starcast.runtime.nvidia.tensorrt.plugin import formats, register

ADA = Gpu("NVIDIA L40", (8, 9), "13.0")
ATTRIBUTES = {"epsilon": np.array([1e-5], np.float32), "slope": np.array([0.2], np.float32)}

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


class DataType(enum.Enum):
    FLOAT, HALF, BF16 = range(3)


class TensorFormat(enum.Enum):
    LINEAR, HWC8, HWC = range(3)


class Dim:
    """A size, known or not, as a formula."""

    def __init__(self, text: object):
        self.text = str(text)

    def __mul__(self, other: Dim) -> Dim:
        return Dim(f"{self.text}*{other.text}")


class Shape(list[int]):
    """Sizes of a tensor, -1 where they are open, with the bounds of a profile."""

    def __init__(self, sizes, smallest=None, usual=None, largest=None):
        super().__init__(sizes)
        self.is_dynamic = -1 in sizes
        self.min, self.opt, self.max = smallest, usual, largest


class TensorDesc:
    def __init__(self, names: str, dtype=DataType.FLOAT, format=TensorFormat.LINEAR, shape=None):
        self.shape_expr = [Dim(name) for name in names]
        self.ndim = len(names)
        self.dtype, self.format, self.shape = dtype, format, shape

    def like(self):
        return ("like", self)


class KernelLaunchParams(SimpleNamespace):
    pass


class SymIntExprs(dict[int, Dim]):
    def __init__(self, length: int):
        super().__init__()


@pytest.fixture
def tensorrt(monkeypatch, tmp_path: Path):
    """A module `played_tensorrt` with a `plugin` that keeps what it is given under `functions`."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(plugin, "current_gpu", lambda: ADA)
    module, plugins = ModuleType("played_tensorrt"), ModuleType("played_tensorrt.plugin")
    functions, operators = {}, SimpleNamespace()

    def keeps(name: str):
        def for_plugin(identity: str):
            def keep(function):
                functions[name, identity] = function
                namespace, operator = identity.split("::")
                setattr(operators, namespace, SimpleNamespace(**{operator: True}))
                return function

            return keep

        return for_plugin

    for name in ("register", "autotune", "aot_impl"):
        setattr(plugins, name, keeps(name))
    for thing in (TensorDesc, KernelLaunchParams, SymIntExprs):
        setattr(plugins, thing.__name__, thing)
    plugins.op, plugins.SymInt32, plugins.functions = operators, Dim, functions
    plugins.AutoTuneCombination = lambda types, layouts: (types, layouts)
    plugins.cdiv = lambda size, by: Dim(f"ceil({size.text}/{by})")
    module.__version__, module.plugin = "11.4.0.106", plugins
    monkeypatch.setitem(sys.modules, "played_tensorrt", module)
    monkeypatch.setitem(sys.modules, "played_tensorrt.plugin", plugins)
    return module


def function(tensorrt, name: str):
    register(tensorrt)
    return tensorrt.plugin.functions[name, "starcast::AdainLeakyRelu"]


def implemented(tensorrt, x: TensorDesc, style: TensorDesc):
    return function(tensorrt, "aot_impl")(x, style, style, **ATTRIBUTES, outputs=(x,), tactic=0)


def planes(dtype=DataType.HALF, format=TensorFormat.LINEAR, shape=None) -> TensorDesc:
    return TensorDesc("NCHW", dtype, format, shape or Shape((1, 64, 256, 256)))


@needs_triton
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("register", ["x", "scale", "shift", "epsilon", "slope"]),
        ("autotune", ["x", "scale", "shift", "outputs"]),
        ("aot_impl", ["x", "scale", "shift", "epsilon", "slope", "outputs", "tactic"]),
    ],
)
def test_functions_have_the_parameters_that_tensorrt_asks_for_with_its_own_classes(tensorrt, name, expected):
    signature = inspect.signature(function(tensorrt, name))
    assert list(signature.parameters) == expected
    kinds = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    assert {kinds[tensor] for tensor in ("x", "scale", "shift")} == {TensorDesc}
    if "outputs" in kinds:
        assert (typing.get_origin(kinds["outputs"]), typing.get_args(kinds["outputs"])) == (tuple, (TensorDesc,))
    if "epsilon" in kinds:
        assert kinds["epsilon"] == kinds["slope"] == np.ndarray[typing.Any, np.dtype[np.float32]]


@needs_triton
def test_results_are_annotated_as_tensorrt_wants_them(tensorrt):
    returned = {
        name: inspect.signature(function(tensorrt, name)).return_annotation for name in ("register", "aot_impl")
    }
    assert returned["register"] is TensorDesc
    assert typing.get_args(returned["aot_impl"]) == (str, str, KernelLaunchParams, SymIntExprs)


@needs_triton
def test_the_output_is_like_the_planes(tensorrt):
    x = planes()
    assert function(tensorrt, "register")(x, TensorDesc("NC"), TensorDesc("NC"), **ATTRIBUTES) == ("like", x)


@needs_triton
def test_layouts_are_offered_for_the_type_that_the_graph_gives(tensorrt):
    layouts = function(tensorrt, "autotune")
    style = TensorDesc("NC")
    assert layouts(planes(DataType.BF16, shape=Shape((4, 512, 32, 32))), style, style, ()) == [
        ("BF16, FP32, FP32, BF16", "LINEAR, LINEAR, LINEAR, LINEAR"),
        ("BF16, FP32, FP32, BF16", "HWC8, LINEAR, LINEAR, HWC8"),
    ]


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("HALF", (1, 64, 32, 32), ("LINEAR", "HWC8")), ("HALF", (1, 12, 32, 32), ("LINEAR",)),
        ("BF16", (1, 512, 16, 16), ("LINEAR", "HWC8")), ("FLOAT", (1, 12, 16, 16), ("LINEAR", "HWC")),
        # no program holds these planes, and of 64 channels there is one a sample
        ("HALF", (8, 64, 256, 256), ("LINEAR",)), ("HALF", (66, 64, 256, 256), ("LINEAR", "HWC8")),
    ],
)  # fmt: skip
def test_channels_last_is_offered_where_no_channel_is_padding_and_programs_are_many(kind, shape, expected):
    assert formats(kind, Shape(shape)) == expected


@needs_triton
def test_a_program_has_room_for_the_largest_planes_of_the_profile(tensorrt):
    shape = Shape((-1, 64, -1, -1), (1, 64, 64, 64), (4, 64, 64, 64), (8, 64, 512, 512))
    assert not plugin._tiling(shape, 2, channels_last=False).held
    fixed = Shape((-1, 64, 64, 64), (1, 64, 64, 64), (4, 64, 64, 64), (8, 64, 64, 64))
    assert plugin._tiling(fixed, 2, channels_last=False).held


@needs_triton
@pytest.mark.parametrize(
    ("x", "grid", "threads"),
    [
        (planes(), "ceil(C/1)", 1024),
        (planes(format=TensorFormat.HWC8), "ceil(C/64)", 512),
        (planes(DataType.FLOAT, TensorFormat.HWC), "ceil(C/32)", 512),
        (planes(shape=Shape((1, 512, 16, 16))), "ceil(C/4)", 128),
    ],
    ids=["linear", "channels last", "float channels last", "small"],
)
def test_the_kernel_is_launched_over_channels_and_samples(tensorrt, x, grid, threads):
    name, ptx, launch, numbers = implemented(tensorrt, x, TensorDesc("SC"))
    assert parameters(ptx, name) == 3 * ["u64"] + 3 * ["u32"] + ["u64"]
    assert ".target sm_89" in ptx
    assert (launch.grid_x.text, launch.grid_z.text, launch.block_x) == (grid, "N", threads)
    assert f".reqntid {threads}" in ptx
    assert (launch.shared_mem > 0) == ("bar.sync" in ptx)  # warps that work alone share nothing
    assert [numbers[index].text for index in range(3)] == ["S", "C", "H*W"]


@needs_triton
def test_a_norms_own_weights_are_one_row(tensorrt):
    _, _, _, numbers = implemented(tensorrt, planes(), TensorDesc("C"))
    assert numbers[0].text == "1"


OPEN = (-1, 64, -1, -1)


@needs_triton
@pytest.mark.parametrize(
    ("shape", "vectors"),
    [
        (Shape(OPEN, (1, 64, 256, 256), (4, 64, 256, 256), (8, 64, 256, 256)), True),
        (Shape(OPEN, (1, 64, 240, 256), (4, 64, 256, 256), (8, 64, 256, 256)), False),
        (Shape((1, 64, 255, 255)), False),
    ],
    ids=["one size", "several sizes", "odd"],
)
def test_planes_are_read_in_vectors_where_all_of_a_profile_divide(tensorrt, shape, vectors):
    _, ptx, _, _ = implemented(tensorrt, planes(shape=shape), TensorDesc("NC"))
    assert ("ld.global.v4" in ptx) == vectors


@needs_triton
def test_epsilon_and_slope_are_in_the_text(tensorrt):
    def text(**attributes: float) -> str:
        values = {**ATTRIBUTES, **{name: np.array([value], np.float32) for name, value in attributes.items()}}
        x, style = planes(), TensorDesc("NC")
        return str(function(tensorrt, "aot_impl")(x, style, style, **values, outputs=(x,), tactic=0)[1])

    assert "0f3E4CCCCD" in text()  # 0.2
    assert "0f3E4CCCCD" not in text(slope=0.25)
    assert "0f3727C5AC" in text()  # 1e-5
    assert "0f3727C5AC" not in text(epsilon=0.5)


@needs_triton
def test_to_register_twice_does_no_harm(tensorrt):
    first = function(tensorrt, "register")
    assert function(tensorrt, "register") is first


@needs_triton
def test_a_machine_without_a_gpu_is_told_where_to_build(tensorrt, monkeypatch):
    monkeypatch.setattr(plugin, "current_gpu", lambda: None)
    monkeypatch.setattr(plugin, "why_no_gpu", lambda: "no driver")
    with pytest.raises(EngineError, match=r"for the GPU at hand \(no driver\): build on its machine"):
        register(tensorrt)


@needs_triton
def test_a_tensorrt_without_plugins_in_ptx_is_told_from_one_without_any(tensorrt, monkeypatch):
    monkeypatch.delattr(tensorrt.plugin, "aot_impl")
    with pytest.raises(EngineError, match="takes no plugins in PTX: use 10.12 or later"):
        register(tensorrt)
    monkeypatch.delitem(sys.modules, "played_tensorrt.plugin")
    with pytest.raises(EngineError, match="played_tensorrt 11.4.0.106 has no plugins in Python"):
        register(tensorrt)


def test_without_triton_the_extra_is_named(tensorrt, monkeypatch):
    monkeypatch.setattr(plugin.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Triton, which is not installed: pip install 'starcast\[tensorrt\]'"):
        register(tensorrt)
