"""The program's text in an engine file is read as kernels and bytes, and what is none is refused in a sentence."""

from __future__ import annotations

import pytest

from starcast.errors import EngineError
from starcast.runtime.nvidia.tensorrt.program import programs_of

TENSORS = """
  tensor={ alignment=128 dims={ %(n)s 3 4 4 } name="x" region="io" strides={ 48 16 4 1 } type=half }
  tensor={ dims={ %(n)s 3 4 4 } name="y" region="scratch" strides={ 48 16 4 1 } type=float }
  tensor={ dims={ %(n)s 3 4 4 } name="gamma" region="scratch" strides={ 3 1 0 0 } type=half }
  tensor={ dims={ 3 3 3 3 } name="w" const_payload_size=162 region="r" strides={ 27 9 3 1 } type=half }
  sub_tensor={ dims={ 8 } name="v" region="bb1-consts" strides={ 1 } type=half }
  tensor={ dims={ 2 } name="y_partial_red" region="scratch" strides={ 1 } type=float }
"""
CALLS = """
 label bb1:
  shape_call={ name="sizes" stream=0 layers="" }
  corrltn={ name="first" output={"y"} input={"x" "w" "x"} nested={ input={ "y" } } text="a } in quotes"
    layers="[ONNX Layer: from_rgb]" }
  function={ name=__myl_Apply args={ "y" "gamma" "v" "x" } input_args={ "y" "gamma" "v" "unknown" }
    output_args={ "x" } layers="[ONNX Layer: norm.Sub][ONNX Layer: leaky]" }
"""


def engine(tensors: str = TENSORS, calls: str = CALLS, n: str = "2", targets: str = "sm89 ") -> bytes:
    """A file of an engine's outline."""
    text = f"options {{\n  accelerators={{{targets}}}\n}}\ndescriptors {{{tensors % {'n': n}}}}\nmain {{{calls}}}\nrest"
    return b"vtrt" + bytes(12) + (24 + len(text)).to_bytes(8, "little") + text.encode()


def test_every_call_with_tensors_is_a_kernel():
    [program] = programs_of(engine())
    assert program.target == "sm89"
    assert [(kernel.name, kernel.kind, kernel.nodes) for kernel in program.kernels] == [
        ("first", "corrltn", ("from_rgb",)), ("__myl_Apply", "function", ("norm.Sub", "leaky")),
    ]  # fmt: skip
    assert program.kinds == {"corrltn": 1, "function": 1}


def test_traffic_is_what_is_read_and_written_without_weights_and_repetitions():
    [program] = programs_of(engine())
    x, y, gamma = 2 * 48 * 2, 2 * 48 * 4, 2 * 3 * 2
    assert [kernel.traffic(2) for kernel in program.kernels] == [x + y, y + gamma + x]
    assert program.megabytes(2) == pytest.approx((2 * x + 2 * y + gamma) / 2 / 1e6)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_open_first_axis_is_the_batch(batch):
    [fixed], [open_] = programs_of(engine(n=str(batch))), programs_of(engine(n="batch_size"))
    assert open_.megabytes(batch) == fixed.megabytes(batch)


def test_open_heights_have_no_traffic():
    [program] = programs_of(engine(TENSORS.replace('4 4 } name="x"', 'height 4 } name="x"')))
    assert program.megabytes(1) is None
    assert len(program.kernels) == 2


def test_a_native_norm_with_partial_sums_reads_its_planes_twice():
    calls = '  function={ name=__myl_Inor input_args={ "x" } output_args={ "y" "y_partial_red" } }'
    [program] = programs_of(engine(calls=calls))
    assert program.reread_megabytes(2) == pytest.approx(2 * 48 * 2 / 2 / 1e6)
    assert programs_of(engine())[0].reread_megabytes(2) == 0


def test_one_program_for_several_targets_names_them_all():
    assert [program.target for program in programs_of(engine(targets="sm86 sm89 "))] == ["sm86 sm89"]


@pytest.mark.parametrize(("content", "words"), [
    (b"ftrt" + engine()[4:], "is not a TensorRT-RTX engine"),
    (b"", "is not a TensorRT-RTX engine"),
    (engine()[:-10], "bytes instead of"),
    (b"vtrt" + bytes(100), "no program that starcast can read"),
    (engine(calls='  function={ name=a input_args={ "x" }'), "ends in the middle"),
    (engine().replace(b"descriptors", b"descriptoms"), "no program that starcast can read"),
])  # fmt: skip
def test_what_is_no_engine_is_refused_in_a_sentence(content, words):
    with pytest.raises(EngineError, match=words):
        programs_of(content)
