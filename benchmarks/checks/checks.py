"""What only an NVIDIA card can show, one function a question: each gives figures, or raises what says why not.

They run in processes of their own (gpu_check.py): a library that crashes ends its own question only.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.memory import rss
from starcast.benchmarks.bench.rows import engine_of
from starcast.errors import EngineError, MissingExtraError, OptionError, VariantMissingError
from starcast.export.precisions import PRECISIONS
from starcast.runtime.engines.base import EngineOptions, GraphFile, Session
from starcast.runtime.engines.choose import BACKENDS, OUTSIDE
from starcast.runtime.nvidia.driver import Driver, open_driver
from starcast.runtime.nvidia.tensorrt.execution import deserialised
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.nvidia.tensorrt.session import TensorRTSession

Figures = dict[str, Any]
UNCODED = tuple(name for name, precision in PRECISIONS.items() if precision.codes is None)
PREPARE = "prepare: a bundle"
CALLS, SHAPES = 10_000, 100  # of the leak check
TO_REPLAY = 3  # calls of a shape: a plain one, one that is recorded as a CUDA graph, one that replays it
REST_S = 120.0  # at most, to wait for what is compiled beside the calls
GROWTH = 16 * 2**20  # bytes on the card, and of the process, that may be taken after everything has run once
LARGE = 512.0  # a checkerboard of it: its squares are four times what a half holds
CHANNELS, SIDE = 8, 64
TARGETS: tuple[str | None, ...] = ("current", None, "sm80", "sm86", "sm89", "sm120")  # None: the library's own
# one layer: y = w x
_PLANES = f"[batch, {CHANNELS}, height, width]"
PROBE = f"""
<ir_version: 8, opset_import: ["": 18]>
probe (KIND{_PLANES} x) => (KIND{_PLANES} y) {{ y = Conv (x, w) }}
"""
KINDS = {"float16": "float16", "float32": "float"}  # numpy's names, ONNX's
NORM = f"""
<ir_version: 8, opset_import: ["": 18]>
norm (float16{_PLANES} x) => (float{_PLANES} y) {{
    n = InstanceNormalization <epsilon = 0.00001> (x, gamma, beta)
    l = LeakyRelu <alpha = 0.2> (n)
    y = Cast <to = 1> (l)
}}
"""
# each tool's last line where it found nothing
SANITIZERS = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards"}
SANITIZER_OPTIONS = (
    "--error-exitcode", "9",
    "--report-api-errors", "no",  # libraries ask the driver for what it may not have
    "--launch-timeout", "0",  # else it gives up a program that starts slowly, and watches nothing
)  # fmt: skip
GAMMA, BETA = np.linspace(0.5, 2, CHANNELS).astype(np.float32), np.linspace(-1, 1, CHANNELS).astype(np.float32)


class WrongError(Exception):
    """The answer is no."""


class NotRunError(Exception):
    """There is no answer here, and why."""


@dataclass(frozen=True)
class Check:
    """A question, what answers it (in a folder that all of them share, which holds a bundle), and its patience."""

    name: str
    answer: Callable[[Path], Figures]
    timeout_s: float = 600.0


def accepts(flavour: str, target: str | None, folder: Path) -> Figures:
    """Whether the flavour builds for the card, loads what it built, and runs it right, plainly and as a CUDA graph."""
    weights = _draws(0, CHANNELS, CHANNELS, 1, 1)
    with _engine(flavour, _probe(folder, weights), target, ((1, SIDE), (4, SIDE))) as session:
        x = _draws(1, 2, CHANNELS, SIDE, SIDE)
        expected = np.einsum("oi,nihw->nohw", weights[:, :, 0, 0].astype(np.float64), x.astype(np.float64))
        errors = [_distance(session.run({"x": x}), expected) for _ in range(5)]
    if not all(error <= 5e-3 for error in errors):  # also for what is not a number
        raise WrongError(f"wrong numbers, over 0.005 of the largest: {', '.join(f'{error:.2g}' for error in errors)}")
    return {"error": max(errors)}


def checkerboard_engine(flavour: str, folder: Path) -> Figures:
    """A norm in half, spelled as the export does, over a checkerboard whose squares no half holds."""
    expected = checkerboard_truth()
    errors = {}
    for statistics in ("one-pass", "two-pass"):
        with _engine(flavour, spelled_norm(folder, statistics), "current", ((1, SIDE), (1, SIDE))) as session:
            errors[statistics] = _distance(session.run({"x": checkerboard()}), expected)
    return _within(errors, 2e-3)


def checkerboard_kernel(folder: Path) -> Figures:
    """The same through the Triton kernel, in both memory formats: one unit in the last place of the type."""
    torch = _torch_on_card()
    from starcast.train.adain import adain_leaky_relu

    errors = {}
    for kind, unit in ((torch.float16, 2**-10), (torch.bfloat16, 2**-7), (torch.float32, 2e-6)):
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.from_numpy(checkerboard()).cuda().to(kind).contiguous(memory_format=order)
            scale, shift = (torch.from_numpy(array).cuda() for array in (GAMMA, BETA))
            y = adain_leaky_relu(x, scale, shift, implementation="triton").float().cpu().numpy()
            errors[f"{kind} {order}"] = _distance(y, checkerboard_truth()) / unit
    return _within(errors, 1.0)


def prepared(folder: Path) -> Figures:
    """A bundle of a random network, for the checks of parity."""
    from starcast.benchmarks.checks.parity import prepare

    prepare(folder)
    return {}


def parity(engine: str, precision: str, folder: Path, *, plugin: bool = False) -> Figures:
    """Translations against PyTorch in float32, within the gate that the export has for the precision."""
    from starcast.benchmarks.checks.parity import BUNDLE, compared

    if engine in OUTSIDE:
        _torch_on_card()  # the backend would run on the processor
    else:
        _present(engine)
    if not (folder / BUNDLE).is_dir():
        raise NotRunError(f"there is no bundle to compare with: see what became of `{PREPARE}`")
    try:
        found = compared(engine, precision, folder, plugin=plugin)
    except (OptionError, MissingExtraError, VariantMissingError) as error:  # what the card or the bundle has not
        raise NotRunError(str(error)) from error
    if not found.passed:
        raise WrongError(found.sentence)
    return found.figures


def leaks(engine: str, folder: Path) -> Figures:
    """10,000 calls over 100 shapes: what they keep of the card's memory and of the process's. TensorRT's flavours run a
    layer in half, other engines, which take a float32 graph, the same in float32.

    Engines keep CUDA graphs and contexts of the last shapes. So both marks stand behind a round of the same shapes.
    """
    kind = np.float16 if engine in FLAVOURS else np.float32
    file = _probe(folder, _draws(0, CHANNELS, CHANNELS, 1, 1).astype(kind))
    driver = open_driver()
    opened = _engine(engine, file, "current", ((1, 1), (4, SHAPES))) if engine in FLAVOURS else _session(engine, file)
    with opened as session:
        for _ in range(2):  # in the first everything is new, and takes memory in another order
            _round(session, kind, TO_REPLAY)
            _rest()
        free_before, held_before = _free_and_held(engine, driver)
        _round(session, kind, CALLS // SHAPES)
        free_after, held_after = _free_and_held(engine, driver)
    driver.close()
    grown = {"card": free_before - free_after, "process": held_after - held_before}
    if max(grown.values()) > GROWTH:
        raise WrongError(
            f"{grown['card'] >> 20} MiB of the card and {grown['process'] >> 20} MiB of the process are gone"
        )
    return {"calls": CALLS, "shapes": SHAPES, **grown}


def sanitized(folder: Path) -> Figures:
    """NVIDIA's compute-sanitizer over the Triton kernel: reads and writes outside of its memory, races."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise NotRunError("compute-sanitizer is not on the path: it comes with the CUDA toolkit")
    _torch_on_card()
    for kind, clean in SANITIZERS.items():
        run = subprocess.run(
            [tool, "--tool", kind, *SANITIZER_OPTIONS, sys.executable, "-c", _SANITIZED],
            capture_output=True, text=True, errors="replace", check=False,
            env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},  # else only torch's large blocks have bounds
        )  # fmt: skip
        said = run.stdout + run.stderr
        if run.returncode or clean not in said or _ALL_RAN not in said:  # it may have watched nothing, and say 0
            raise WrongError(f"{kind} ended with status {run.returncode}: {_complaint(said, clean)}")
    return {"tools": list(SANITIZERS)}


def marked_tests(folder: Path) -> Figures:
    """The tests that are marked `gpu`."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests").is_dir():
        raise NotRunError("this is no checkout: there are no tests")
    # the files alone: on a machine that lacks a package of others, collecting those would end it all
    files = [str(file) for file in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    # a warning is an error where versions are pinned; here they are the machine's. No -q: the project's own is one, and
    # two would leave out the summary
    options = ["-m", "gpu", "-W", "default", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)
    summary = _last(run.stdout)
    if run.returncode == 5:  # pytest's own: none was collected
        raise NotRunError("no test is marked gpu")
    if run.returncode:
        failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        raise WrongError("; ".join((summary, *failed[:10])))
    if " passed" not in f" {summary}":  # all of them skipped
        raise NotRunError(summary)
    return {"summary": summary}


def _round(session: Session, kind: type[Any], calls: int) -> None:
    """So many calls of each of the leak check's shapes."""
    for side in range(1, SHAPES + 1):
        x = np.zeros((1 + side % 4, CHANNELS, side, side), kind)
        for _ in range(calls):
            session.run({"x": x})


def _rest(most_s: float = REST_S) -> None:
    """Wait until no thread of this process computes: TensorRT for RTX compiles kernels beside the first calls."""
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        spent = time.process_time()
        time.sleep(0.2)
        if time.process_time() - spent < 0.02:
            return


def _free_and_held(engine: str, driver: Driver) -> tuple[int, int]:
    """Bytes that are free on the card, and that this process holds."""
    if engine in OUTSIDE:
        import torch

        torch.cuda.empty_cache()  # what it holds for its next tensors, dropped CUDA graphs' too, is not gone
    with driver.active():
        return driver.memory()[0], rss() or 0


def checkerboard() -> NDArray[np.float16]:
    """[1, C, S, S]: +512 and -512 by turns. Mean 0, standard deviation 512."""
    rows, columns = np.indices((SIDE, SIDE))
    board = np.where((rows + columns) % 2, -LARGE, LARGE)
    return np.broadcast_to(board, (1, CHANNELS, SIDE, SIDE)).astype(np.float16)


def checkerboard_truth() -> NDArray[np.float64]:
    """What norm, scale, shift and leaky ReLU make of it, in float64."""
    whole = checkerboard().astype(np.float64) / math.sqrt(LARGE**2 + 1e-5)
    y = whole * GAMMA.astype(np.float64)[:, None, None] + BETA.astype(np.float64)[:, None, None]
    return np.where(y < 0, 0.2 * y, y)


def spelled_norm(folder: Path, statistics: str) -> Path:
    """An ONNX file: the norm in half, in the export's spelling."""
    import onnx_ir as ir
    from onnx import numpy_helper, parser

    from starcast.export.passes.norm_spelling import spell_norms

    text = parser.parse_model(NORM)
    for name, weight in (("gamma", GAMMA), ("beta", BETA)):
        text.graph.initializer.append(numpy_helper.from_array(weight, name))
    model = ir.from_proto(text)
    for node in model.graph:
        node.name = node.outputs[0].name
        if node.op_type != "Cast":
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    spell_norms(model, SIDE, {"n": statistics})  # type: ignore[dict-item]
    file = folder / f"norm-{statistics}.onnx"
    ir.save(model, file)
    return file


def _probe(folder: Path, weights: NDArray[Any]) -> Path:
    """An ONNX file of the layer, in the weights' type."""
    from onnx import numpy_helper, parser

    model = parser.parse_model(PROBE.replace("KIND", KINDS[weights.dtype.name]))
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    file = folder / "probe.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def built(flavour: str, graph: Path, target: str | None, sizes: tuple[tuple[int, int], tuple[int, int]]) -> bytes:
    """An engine of a graph whose input x has the smallest and the largest (batch, side). Raises EngineError."""
    from starcast.runtime.nvidia.tensorrt.compiler import compiled
    from starcast.runtime.nvidia.tensorrt.messages import Request

    smallest, largest = ((batch, CHANNELS, side, side) for batch, side in sizes)
    request = Request(
        flavour=flavour, graph=str(graph), output="", inputs={"x": (smallest, largest, largest)},
        target=target if FLAVOURS[flavour].ahead_of_time else None,
    )  # fmt: skip
    engine, _ = compiled(FLAVOURS[flavour].load(), request)
    return bytes(engine)


@contextmanager
def _engine(
    flavour: str, graph: Path, target: str | None, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> Iterator[TensorRTSession]:
    """A session of a graph. Raises NotRunError where the flavour is absent, or refuses the graph or the card."""
    reason = FLAVOURS[flavour].absent()
    if reason is not None:
        raise NotRunError(f"{flavour} is {reason}")
    driver: Driver = open_driver()
    try:
        with driver.active():
            execution = deserialised(FLAVOURS[flavour].load(), built(flavour, graph, target, sizes), driver, graph.name)
            session = TensorRTSession(graph.name, "starcast build BUNDLE", execution, driver, None)
    except EngineError as error:
        driver.close()
        raise NotRunError(f"refused: {error}") from error
    yield session
    session.close()


@contextmanager
def _session(engine: str, graph: Path) -> Iterator[Session]:
    """A session of a float32 graph on another engine for cards. Raises NotRunError where that is absent."""
    if engine in OUTSIDE:
        _torch_on_card()  # the backend would run on the processor
    else:
        _present(engine)
    session = engine_of(engine).open(GraphFile(graph), EngineOptions())
    try:
        yield session
    finally:
        session.close()


def _present(engine: str) -> None:
    reason = BACKENDS[engine].absent()
    if reason is not None:
        raise NotRunError(f"{engine} is {reason}")


def _torch_on_card() -> Any:
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise NotRunError(f"{error.name} is not installed") from error
    if not torch.cuda.is_available():
        raise NotRunError("this torch was built without CUDA, or sees no card")
    return torch


def _within(errors: dict[str, float], most: float) -> Figures:
    if not all(error <= most for error in errors.values()):  # also for what is not a number
        raise WrongError(", ".join(f"{name}: {error:.3g}" for name, error in errors.items()) + f", over {most:g}")
    return {"errors": errors, "allowed": most}


def _distance(got: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max())


def _draws(seed: int, *shape: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def _complaint(said: str, clean: str) -> str:
    """The first that compute-sanitizer found, else what the program said last."""
    lines = [line.strip("= ") for line in said.splitlines() if line.startswith("=====")]
    found = [line for line in lines if line not in ("", "COMPUTE-SANITIZER") and clean not in line]
    return found[0] if found else _last(said)


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


# planes that a program holds, that are split, and that one program reads twice: in either layout, forward and backward
SANITIZED = ((1, 8, 7, 9), (2, 64, 33, 31), (1, 2, 131, 127), (1, 132, 131, 127), (132, 32, 46, 47))
_ALL_RAN = "every norm has run"
_SANITIZED = f"""
import torch
from starcast.train.adain import adain_leaky_relu
for shape in {SANITIZED}:
    for kind in (torch.float16, torch.float32):
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device="cuda").to(kind).contiguous(memory_format=order).requires_grad_()
            affine = [torch.randn(shape[:2], device="cuda", requires_grad=True) for _ in range(2)]
            adain_leaky_relu(x, *affine, implementation="triton").sum().backward()
torch.cuda.synchronize()
print("{_ALL_RAN}")
"""


def _parities(engine: str, precisions: Sequence[str], *, plugin: bool = False) -> Iterator[Check]:
    for precision in precisions:
        name = f"parity: {engine} {precision}{', the plugin' if plugin else ''}"
        yield Check(name, partial(parity, engine, precision, plugin=plugin), 1800)


# what tells most in the least time comes first: a run may be cut short
CHECKS: tuple[Check, ...] = (
    Check("pytest -m gpu", marked_tests, 1800),
    Check("checkerboard: the Triton kernel", checkerboard_kernel),
    Check(PREPARE, prepared, 3600),
    *_parities("torch", UNCODED),
    Check("compute-sanitizer: the Triton kernel", sanitized, 1800),
    *_parities("cuda", ("fp32",)),
    *(
        Check(f"accepts: {flavour}{f' for {target}' if target else ''}", partial(accepts, flavour, target))
        for flavour, targets in (("tensorrt-rtx", TARGETS), ("tensorrt", TARGETS[1:2]))
        for target in targets
    ),
    *(Check(f"checkerboard: {flavour} fp16", partial(checkerboard_engine, flavour)) for flavour in FLAVOURS),
    *_parities("tensorrt-rtx", tuple(PRECISIONS)),
    *_parities("tensorrt", tuple(PRECISIONS)),
    *_parities("tensorrt", UNCODED, plugin=True),
    *(Check(f"leaks: {engine}", partial(leaks, engine), 1800) for engine in (*OUTSIDE, "cuda", *FLAVOURS)),
)
