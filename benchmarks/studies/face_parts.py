"""How much time the rewrites save in a face model: in its frame graph, in the graphs that make its masks, and in both.

    starcast export faces.pt -o faces --for openvino,onnxruntime
    python -m starcast.benchmarks.studies.face_parts faces -o face-parts.json

`starcast bench` times the frame graph alone, because masks are made once per source and not once per style. This study
times both parts, as traced and as rewritten, round by round on the same engines, and fails if they differ.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import Tensor, nn

from starcast import flags
from starcast.benchmarks.bench.model_inputs import inputs_of
from starcast.benchmarks.bench.prepare import write_plain
from starcast.benchmarks.bench.rows import Setting
from starcast.benchmarks.bench.subject import checkpoint_of
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.errors import BundleError
from starcast.export.families import open_model
from starcast.export.trace import trace_style_graph
from starcast.options import CheckedOptions
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import granted_threads
from starcast.runtime.engines.base import Engine, EngineOptions, Graph
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.engines.session import VariantSession
from starcast.runtime.machine import processor
from starcast.runtime.variants import Variant
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.families.stargan_v2.faces import masks_of

PROGRAM = "python -m starcast.benchmarks.studies.face_parts"
ENGINES = ("openvino", "onnxruntime")
MOST_APART = 1  # grey levels, given the same masks

Run = Callable[[], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class FacePartsOptions(CheckedOptions):
    """How to compare."""

    rounds: int = flags.rounds(10)
    threads: int | None = flags.threads("Default: as many as this process may use.")
    json: Path | None = flags.out(None, "a JSON record of the figures, the machine and the versions.")


@dataclass(frozen=True)
class Parts:
    """Ways to run the parts of a face model on one engine: `frame` makes one image, `masks` its masks."""

    plain_frame: Run
    frame: Run
    plain_masks: Run
    masks: Run


class _Masks(nn.Module):
    """The masks' arithmetic as training runs it."""

    def forward(self, heatmaps: Tensor) -> Tensor:
        return masks_of(heatmaps)


def write_plain_graphs(bundle: Bundle, checkpoint: Path, folder: Path) -> dict[str, Path]:
    """A face model's graphs as its trained networks are traced: the frame graph, and those that make masks."""
    read = read_checkpoint(checkpoint)
    model = open_model(read, read.domain_names)
    graphs = {graph.file: graph for graph in model.style_graphs()}
    paths = {"frame": write_plain(checkpoint, folder / "frame.onnx")}
    for one in bundle.manifest.source_makers:
        graph = graphs[one.graph]
        network = graph.reference if isinstance(graph.reference, nn.Module) else _Masks()
        paths[one.graph] = folder / one.graph
        ir.save(trace_style_graph(replace(graph, network=network)), paths[one.graph])
    return paths


def open_parts(
    engine: Engine, bundle: Bundle, plain: dict[str, Path], images: NDArray[np.uint8], styles: NDArray[np.float32],
    threads: int | None,
) -> Parts:  # fmt: skip
    """The parts of a bundle on an engine, for one image; the frame graphs get the masks that the bundle makes."""
    options = EngineOptions(threads=threads)
    session = VariantSession(bundle, engine, _variant(bundle, engine), options)
    opened = {name: engine.open(Graph(path), options) for name, path in plain.items()}
    landmarks, masks = (one.graph for one in bundle.manifest.source_makers)

    def make(run: Callable[[str, dict[str, NDArray[Any]]], NDArray[Any]]) -> NDArray[Any]:
        return run(masks, {"heatmaps": run(landmarks, {"image": images})})

    extra = session.extra_inputs.make(images)
    feeds = session.feeds(images, styles, extra)
    return Parts(
        plain_frame=lambda: opened["frame"].run({"image": images, "style": styles, **extra}),
        frame=lambda: session.run(session.variant.file, feeds),
        plain_masks=lambda: make(lambda graph, inputs: opened[graph].run(inputs)),
        masks=lambda: make(session.run),
    )


def _variant(bundle: Bundle, engine: Engine) -> Variant:
    for variant in bundle.manifest.variants:
        if engine.name in variant.engines and variant.precision == "fp32" and variant.form != "plain":
            return variant
    raise BundleError(f"{bundle.path} has no float32 variant for {engine.name}: export it with --for {engine.name}")


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """Seconds of each part in each round, one after the other, and their paired ratios."""
    apart = int(np.abs(parts.plain_frame().astype(int) - parts.frame()).max())
    assert apart <= MOST_APART, f"the frame graphs differ by {apart} grey levels"
    for first in (parts.plain_masks, parts.masks):
        first()  # it compiles
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in ("plain_frame", "frame", "plain_masks", "masks"):
            start = time.perf_counter()
            getattr(parts, name)()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    both = {
        f"{kind}both": [a + b for a, b in zip(seconds[f"{kind}frame"], seconds[f"{kind}masks"], strict=True)]
        for kind in ("plain_", "")
    }
    every = {**seconds, **both}
    return {
        "ms": {name: round(1000 * statistics.median(values), 2) for name, values in every.items()},
        "times_faster": {name: _ratio(every[f"plain_{name}"], every[name]) for name in ("frame", "masks", "both")},
        "levels_apart": apart,
    }


def _ratio(plain: list[float], ours: list[float]) -> dict[str, float]:
    ratios = [one / other for one, other in zip(plain, ours, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3), "least": round(min(ratios), 3),
        "greatest": round(max(ratios), 3),
    }  # fmt: skip


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(FacePartsOptions)
def face_parts(bundle: Path, **values: Any) -> None:
    """Compare the graphs of a face model's BUNDLE with those of its checkpoint as traced."""
    options, opened = FacePartsOptions(**values), open_bundle(bundle)
    checkpoint, threads = checkpoint_of(opened), granted_threads(options.threads)
    manifest = opened.manifest
    record: dict[str, Any] = {
        "question": "how many times faster than its plain export is each part of a face model, on one engine?",
        "machine": provenance(threads=threads or processor().cores, program=PROGRAM),
        "gflop": {one.graph: round(one.flop / 1e9, 2) for one in manifest.source_makers}
        | {variant.file: round(variant.flop / 1e9, 2) for variant in manifest.variants},
        "engines": {},
    }
    with TemporaryDirectory() as folder:
        plain = write_plain_graphs(opened, checkpoint, Path(folder))
        inputs = inputs_of(read_checkpoint(checkpoint), Setting(size=manifest.trained_size), None).take(slice(1))
        assert inputs.images is not None
        for name in ENGINES:
            parts = open_parts(find_engine(name), opened, plain, inputs.images, inputs.styles, threads)
            record["engines"][name] = measure(parts, options.rounds)
            click.echo(f"{name}: {record['engines'][name]}")
    if options.json is not None:
        write_result(options.json, record)


if __name__ == "__main__":
    face_parts()
