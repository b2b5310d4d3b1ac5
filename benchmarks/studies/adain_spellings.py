"""How many kernels and bytes does TensorRT-RTX need for AdaIN, written in different ways? Read without a GPU.

    python -m starcast.benchmarks.studies.adain_spellings -o benchmarks/results/adain-spellings.json

The generator has AFHQ's size and random weights; the weights do not matter here. Each row is one build; its program is
read from the engine's file (tensorrt/program.py). Nothing runs, so no row has a time.

The graphs in bundles move 327 MB (sm89, 93 kernels): convolutions 149 (24 of that for the other branch of a sum), norms
and activations 99, statistics 54, the shortcut's Resize 20, the ends 5. The floor is 132 MB. We found no rewrite that
moves the statistics into a convolution, or the norm into the next convolution.

Bytes are not everything. The engine contains its kernels' sources, and these show that the statistics read one channel
at a time, although the maps store all channels of a pixel side by side: 32 threads touch 32 cache lines. Two rows
("flattened", "spread") move fewer bytes or need fewer kernels, but read more in this way; they stay unused until a GPU
has timed them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
from tabulate import tabulate
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.bench.random_weights import config_of, random_networks
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.norm_spellings import SPELLINGS, Spelling, write_norms
from starcast.click_options import options_from
from starcast.export.graphs.cost import count_flop
from starcast.export.graphs.facts import add_constant, at_size, one_image, readers
from starcast.export.graphs.files import SharedWeights
from starcast.export.passes.forms import LAST_SUM, TENSORRT, apply_form, apply_rewrites
from starcast.export.passes.half import to_half
from starcast.export.passes.instance_norms import instance_norms
from starcast.export.passes.norm_decomposition import Statistics, decompose_norms
from starcast.export.trace import trace_generator
from starcast.options import CheckedOptions, option
from starcast.runtime.cores import allowed_threads
from starcast.runtime.nvidia.tensorrt.child_process import build_in_child
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.nvidia.tensorrt.messages import Request
from starcast.runtime.nvidia.tensorrt.program import Program, programs_of

PROGRAM = "python -m starcast.benchmarks.studies.adain_spellings"
RTX = "tensorrt-rtx"
AFHQ = config_of(256, 3)
HALF = 2  # bytes


@dataclass(frozen=True, kw_only=True)
class SpellingsOptions(CheckedOptions):
    """What to build, and where to write the figures."""

    target: str = option("sm89", "GPU architecture to build for.", choices=FLAVOURS[RTX].targets)
    json: Path | None = flags.out(None, "a JSON record of the figures and the versions.", aliases=("--json",))


@dataclass(frozen=True)
class Row:
    """A graph, and how its norms are written."""

    graph: str
    spelling: str
    make: Callable[[ir.Model], None]  # rewrites the traced graph in place


def _make_in_form(form: str, spell: Callable[[ir.Model], None], *, ends: bool = False) -> Callable[[ir.Model], None]:
    def make(model: ir.Model) -> None:
        apply_form(model, form)
        if ends:
            apply_rewrites(model, TENSORRT)
        to_half(model, ir.DataType.FLOAT16)
        spell(model)
        if ends:
            apply_rewrites(model, [LAST_SUM])

    return make


def write_as_bundles(model: ir.Model, statistics: Statistics = "one-pass", side: int = AFHQ.image_size) -> None:
    """Rewrite all norms in place, as the export does for bundles."""
    decompose_norms(model, side, dict.fromkeys([norm.name for norm in instance_norms(model.graph)], statistics))


def _make_norms(spelling: Spelling) -> Callable[[ir.Model], None]:
    return partial(write_norms, spelling=spelling)


OURS = "one pass, large planes in two stages, shifted apply in half"
# halving the side keeps every plane from counting as large
_OWN: dict[str, Callable[[ir.Model], None]] = {
    "two passes, shifted apply in half": partial(write_as_bundles, statistics="two-pass", side=AFHQ.image_size // 2),
    "one pass, shifted apply in half": partial(write_as_bundles, side=AFHQ.image_size // 2),
    "two passes, large planes in two stages, shifted apply in half": partial(write_as_bundles, statistics="two-pass"),
    OURS: write_as_bundles,
}
ENDS = "taps16, pools and ends rewritten"


def _write_and_spread(model: ir.Model) -> None:
    write_as_bundles(model)
    spread_sums(model)


ROWS = (
    *(
        Row(form, name, _make_in_form(form, spell))
        for form in ("plain", "taps16")
        for name, spell in ({name: _make_norms(spelling) for name, spelling in SPELLINGS.items()} | _OWN).items()
    ),
    *(Row(form, OURS, _make_in_form(form, write_as_bundles)) for form in ("taps9", "phases")),
    *(Row(ENDS, name, _make_in_form("taps16", spell, ends=True)) for name, spell in _OWN.items() if "stages" in name),
    Row(f"{ENDS}, sums spread", OURS, _make_in_form("taps16", _write_and_spread, ends=True)),
)


def spread_sums(model: ir.Model) -> None:
    """Write sums with an enlarged map as sums of [N, C, h, 2, w, 2] and [N, C, h, 1, w, 1], in place.

    The next kernel then computes the sum, and no enlarged map is written. But that kernel and the last norm read across
    channels: fewer bytes, but each from a separate cache line, which is not counted. Not for use in bundles.
    """
    graph = model.graph

    def add(operator: str, before: ir.Node, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes)
        node.outputs[0].type = inputs[0].type
        graph.insert_before(before, node)
        return node.outputs[0]

    def numbers(*values: int) -> ir.Value:
        return add_constant(graph, "numbers." + ".".join(map(str, values)), np.array(values, np.int64))

    for resize in [node for node in graph if node.op_type == "Resize"]:
        enlarged = resize.outputs[0]
        [total] = readers(enlarged)
        [whole] = [value for value in total.inputs if value is not None and value is not enlarged]
        small = resize.inputs[0]
        assert small is not None
        rows = add("Reshape", total, add("Unsqueeze", total, whole, numbers(3)), numbers(0, 0, -1, 2, 0))
        squares = add("Reshape", total, add("Unsqueeze", total, rows, numbers(5)), numbers(0, 0, 0, 0, -1, 2))
        summed = add("Add", total, squares, add("Unsqueeze", total, small, numbers(3, 5)))
        merged = add("Reshape", total, add("Reshape", total, summed, numbers(0, 0, 0, 0, -1)), numbers(0, 0, -1, 1, 0))
        total.outputs[0].replace_all_uses_with(add("Squeeze", total, merged, numbers(3)))
        graph.remove([total, resize], safe=True)


def trace_afhq() -> ir.Model:
    """The frame graph of AFHQ's generator with random weights."""
    return trace_generator(random_networks(AFHQ).generator, AFHQ.image_size, AFHQ.style_dim)


def program_of(model: ir.Model, target: str, batch: int = 1) -> Program:
    """The program that TensorRT-RTX builds from a frame graph of AFHQ's size, for `batch` images with a style each.

    Raises EngineError, MissingExtraError.
    """
    side = AFHQ.image_size
    inputs = {"image": (batch, side, side, 3), "style": (batch, AFHQ.style_dim)}
    with tempfile.TemporaryDirectory() as folder:
        graph, engine = Path(folder, "graph.onnx"), Path(folder, "engine")
        SharedWeights(graph.with_suffix(".data")).write(model, graph)
        build_in_child(
            Request(
                flavour=RTX, graph=str(graph), output=str(engine), target=target,
                inputs={name: (shape, shape, shape) for name, shape in inputs.items()},
            )
        )  # fmt: skip
        [program] = programs_of(engine.read_bytes())
    return program


def floor_megabytes(model: ir.Model, side: int = AFHQ.image_size) -> float:
    """Megabytes (10^6) per image that float16 convolutions must read and write, each map once.

    This is the least for a compiler that does not fuse one convolution into the next. Images count a byte per number.
    """
    sized = at_size(model, one_image(side)).graph
    total = 0
    for node in sized:
        if node.op_type in {"Conv", "ConvTranspose"}:
            for value in (node.inputs[0], node.outputs[0]):
                assert value is not None
                assert value.shape is not None
                _, channels, height, width = (int(dim) for dim in value.shape if isinstance(dim, int))
                total += channels * height * width * (1 if channels == 3 else HALF)
    return total / 1e6


def figures(rows: Sequence[Row], target: str, progress: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """Build every row, and return its figures. Raises EngineError, MissingExtraError."""
    graph, result = trace_afhq(), []
    for row in rows:
        progress(f"{row.graph}: {row.spelling}")
        model = graph.clone()
        row.make(model)
        program = program_of(model, target)
        result.append({
            "graph": row.graph, "spelling": row.spelling, "kernels": len(program.kernels),
            "megabytes": _round(program.megabytes(1)), "read_again": _round(program.reread_megabytes(1)),
            "native_norms": sum("Inor" in kernel.name for kernel in program.kernels),
        })  # fmt: skip
    return result


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _floors() -> dict[str, dict[str, float]]:
    """By graph: the least traffic, and the FLOP."""
    floors = {}
    for name, ends in (("taps16", False), (ENDS, True)):
        model = trace_afhq()
        apply_form(model, "taps16")
        if ends:
            apply_rewrites(model, TENSORRT)
        gflop = count_flop(model, one_image(AFHQ.image_size)) / 1e9
        floors[name] = {"megabytes": round(floor_megabytes(model), 1), "gflop": round(gflop, 2)}
    return floors


@click.command()
@options_from(SpellingsOptions)
def adain_spellings(**values: Any) -> None:
    """Build AFHQ's generator for TensorRT-RTX with AdaIN written in every way, and count kernels and bytes."""
    options, flavour = SpellingsOptions(**values), FLAVOURS[RTX]
    if (absent := flavour.absent()) is not None:
        raise click.UsageError(f"{flavour.title} is {absent.reason}{absent.remedy(flavour.install_line)}")
    with tqdm(desc="building", bar_format="{desc} [{elapsed}]") as bar:
        rows = figures(ROWS, options.target, lambda text: bar.set_description_str(text))
    if options.json is not None:
        machine = provenance(threads=allowed_threads(), program=PROGRAM)
        machine["versions"] |= {RTX: flavour.version()}
        write_result(options.json, {
            "question": "what does TensorRT for RTX make of each form of AdaIN, in fp16, for one 256 px image?",
            "machine": machine,
            "target": options.target,
            "units": "megabytes: 10^6 bytes of activations read and written per image, including its bytes in and out",
            "floor": {
                "what": "every convolution reads its input and writes its output once", "graphs": _floors(),
            },
            "rows": rows,
        })  # fmt: skip
    columns = ("graph", "spelling", "kernels", "megabytes", "read_again")
    click.echo(tabulate([[row[name] for name in columns] for row in rows], headers=columns))


if __name__ == "__main__":
    adain_spellings()
