"""Turns a checkpoint into a bundle: writes and judges every graph in a temporary folder, then puts that in place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from starcast import __version__
from starcast.atomic import atomic_folder
from starcast.errors import StarcastError
from starcast.export.families.model import Model
from starcast.export.gate.judge import Judge, unmeasurable
from starcast.export.gate.parity import DifferenceError, check_style_graph
from starcast.export.graphs.cost import Cost
from starcast.export.graphs.files import write_graph
from starcast.export.model_card import model_card
from starcast.export.options import ExportOptions
from starcast.export.plan import Plan, engine_names, plans_for, select_plans
from starcast.export.preview import draw_generated, draw_preview, preview_sources
from starcast.export.source import Progress, Source, read_source, stage
from starcast.export.store import Store, writable_target
from starcast.export.targets.ncnn_layer import NoCounterpartError
from starcast.export.targets.onnx import OnnxTarget
from starcast.export.targets.tensorrt import TensorRTTarget, without_products
from starcast.hold import hold
from starcast.images.write import write_image
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.manifest import (
    FORMAT,
    MANIFEST,
    ExtraInput,
    FileFacts,
    LandmarkMaker,
    Manifest,
    Noise,
    NoiseInput,
    Output,
    Provenance,
)
from starcast.runtime.manifest import Source as SourceRole
from starcast.runtime.manifest_json import encode
from starcast.utf8 import escape

CARD, PREVIEW, NOISE = "README.md", "preview.jpg", "noise.npz"
Part = TypeVar("Part", LandmarkMaker, ExtraInput)


def export_bundle(checkpoint: Path, bundle: Path, options: ExportOptions, progress: Progress) -> Bundle:
    """Write a bundle, or replace one, and open it. `progress` gets a line after each stage.

    Raises CheckpointError, OptionError (also if another process writes the bundle), BundleError (the target holds
    something else) and ParityError. An error leaves the target unchanged.
    """
    plans = plans_for(options)
    with hold(bundle):
        target = writable_target(bundle)
        source = read_source(checkpoint, options, progress)
        _write_bundle(target, source, select_plans(plans, source.model), options, progress)
        return open_bundle(target)


def _write_bundle(
    target: Path, source: Source, plans: Sequence[Plan], options: ExportOptions, progress: Progress
) -> None:
    with atomic_folder(target) as folder:
        _write_style_graphs(source, folder, plans, progress)
        store = Store(folder, source.facts)
        _write_frame_graphs(source, plans, options, store, progress)
        _write_means(source, folder, options, progress)
        if source.model.noise:
            np.savez(folder / NOISE, **source.model.noise)  # type: ignore[arg-type]
        with stage(progress, "drew the preview"):
            write_image(folder / PREVIEW, _preview(source))
        manifest = describe_bundle(source, store, options)
        card = model_card(
            manifest, source.model.about, name=escape(target.name), parameters=source.model.parameters,
            from_official=source.checkpoint.descends_from_official,
        )  # fmt: skip
        (folder / CARD).write_text(card, encoding="utf-8")
        (folder / MANIFEST).write_bytes(encode(with_files(manifest, folder)))


def _write_frame_graphs(
    source: Source, plans: Sequence[Plan], options: ExportOptions, store: Store, progress: Progress
) -> None:
    """Make, write and judge every graph that translates; only then add it to the bundle.

    An engine that nobody asked for by name is left out where it cannot run the model, or runs it inexactly. Raises
    ParityError if every engine does.
    """
    plans = _measurable(plans, progress)
    failed: dict[Plan, StarcastError] = {}
    judge = Judge(source, options, plans, progress)
    onnx = OnnxTarget(source, plans, options.without, judge, store, progress)
    tensorrt = TensorRTTarget(source, options.without, judge, progress)
    for plan in plans:
        if any(set(plan.engines) <= set(other.engines) for other in failed if plan.precision != other.precision):
            progress(f"{plan.name} is left out, too")
            continue
        graph = onnx.make(plan) if plan.norms == "native" else tensorrt.make(plan)
        if graph is None:
            continue
        judge.prepare(plan)
        try:
            with stage(progress, _stage_of(plan)):
                stored = store.write(graph)
                verdict = judge.judge(graph, stored)
        except (NoCounterpartError, DifferenceError) as error:
            if options.backends:  # the user asked for it
                raise
            failed[plan] = error.with_traceback(None)  # which would hold the engine, and with it the files
            names = engine_names(plan)
            verb = "is" if len(names) == 1 else "are"
            progress(f"{' and '.join(names)} {verb} left out: {error.clause}")
        if plan in failed:
            store.discard(graph)
            continue
        progress(f"  {verdict}")
        store.add(graph, stored, verdict)
    if failed and not store.variants:
        raise next(iter(failed.values()))


def _measurable(plans: Sequence[Plan], progress: Progress) -> list[Plan]:
    """The plans whose graphs this machine can measure; progress shows what is left out, and why."""
    reasons = {plan: unmeasurable(plan) for plan in plans}
    for plan in {plan.precision: plan for plan, reason in reasons.items() if reason is not None}.values():
        what = plan.precision if plan.rest is None else f"{plan.precision} with {plan.rest} beside it"
        progress(f"{what} is left out, because nothing on this machine can measure it: {reasons[plan]}")
    return [plan for plan in plans if reasons[plan] is None]


def _stage_of(plan: Plan) -> str:
    if plan.is_hint:
        return f"{plan.name}: compared with float32"
    return f"{plan.file}: written, and compared with {'PyTorch' if plan.precision == 'fp32' else 'float32'}"


def _write_style_graphs(source: Source, folder: Path, plans: Sequence[Plan], progress: Progress) -> None:
    """Write the graphs that make styles, and compare them with PyTorch."""
    for file, graph in source.styles.items():
        if any(plan.norms != "native" for plan in plans):
            without_products(graph)
        write_graph(graph, folder / file, source.facts)
    worst = [(graph.file, check_style_graph(folder / graph.file, graph)) for graph in source.model.style_graphs()]
    if worst:
        figures = (f"{Path(file).stem.replace('_', ' ')} {difference:.1e}" for file, difference in worst)
        progress(f"  against PyTorch: {', '.join(figures)}")


def _write_means(source: Source, folder: Path, options: ExportOptions, progress: Progress) -> None:
    condition = source.model.condition(options.mean_draws)
    if condition.means is None:
        return
    mean = "each domain's mean style" if source.model.domains else "the mean style"
    of = "from the checkpoint" if condition.mean_draws is None else f"over {condition.mean_draws:,} draws"
    with stage(progress, f"took {mean} {of}"):
        np.savez(folder / condition.means, mean=source.model.mean_styles(options.mean_draws))


def _preview(source: Source) -> NDArray[np.uint8]:
    model = source.model
    if model.stride is None:
        return draw_generated(source.frame, model.preview_styles(), model.noise)
    return draw_preview(source.frame, preview_sources(source.data, model.side), model.preview_styles(), model.extras)


def describe_bundle(source: Source, store: Store, options: ExportOptions) -> Manifest:
    """The manifest, with its list of files still empty."""
    model, checkpoint = source.model, source.checkpoint
    return Manifest(
        format=FORMAT,
        source=_source_role(model),
        output=None if model.stride is not None else Output(
            channels=model.channels, height=model.side, width=model.side  # type: ignore[arg-type]
        ),
        noise=_noise_role(model),
        landmarks=None if model.landmarks is None else _with_cost(model.landmarks, source),
        extra_inputs=tuple(_with_cost(one, source) for one in model.extra_inputs),
        condition=msgspec.structs.replace(model.condition(options.mean_draws), product=store.product),
        domains=model.domains,
        variants=tuple(store.variants),
        provenance=Provenance(
            family=model.family,
            layout=checkpoint.layout,
            checkpoint=escape(checkpoint.path.name),
            checkpoint_sha256=source.sha256,
            step=checkpoint.step,
            dataset=escape(options.data or (checkpoint.dataset or {}).get("name")),
            options=escape(checkpoint.options),
            starcast=__version__,
            torch=str(torch.__version__),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        files={},
    )  # fmt: skip


def _with_cost(part: Part, source: Source) -> Part:
    cost = Cost.of(source.styles[part.graph], source.model.side)
    return msgspec.structs.replace(part, flop=cost.flop, working=cost.working)


def _source_role(model: Model) -> SourceRole | None:
    if model.stride is None:
        return None
    return SourceRole(channels=model.channels, height=model.side, width=model.side, stride=model.stride)


def _noise_role(model: Model) -> Noise | None:
    if not model.noise:
        return None
    sides = {name: constant.shape[2:] for name, constant in model.noise.items()}
    inputs = tuple(NoiseInput(name=name, height=height, width=width) for name, (height, width) in sides.items())
    return Noise(inputs=inputs, constants=NOISE)


def with_files(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with the size and hash of every file in the folder."""
    files = {
        path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return msgspec.structs.replace(manifest, files=files)
