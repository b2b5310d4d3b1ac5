"""A checkpoint becomes a bundle: traced, written aside, compared with PyTorch, and only then put in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from starcast import __version__
from starcast.atomic import atomic_folder
from starcast.errors import OptionError
from starcast.export.destination import writable_target
from starcast.export.families import open_model
from starcast.export.families.model import Model, StyleGraph
from starcast.export.gate.judging import Pictures, judging
from starcast.export.gate.parity import (
    check_style_graph,
)
from starcast.export.graphs.files import write_graph
from starcast.export.model_card import model_card
from starcast.export.options import ExportOptions
from starcast.export.plan import Plan, plans_for
from starcast.export.preview import draw_preview, preview_sources
from starcast.export.progress import Progress, stage
from starcast.export.targets.tensorrt import without_products
from starcast.export.trace import trace_generator, trace_style_graph
from starcast.export.write_fused import write_fused
from starcast.export.write_precisions import write_precisions
from starcast.export.write_variants import GENERATOR, STYLE_PRODUCT, Making, parity_gate, write_variants
from starcast.images.write import write_image
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.manifest import (
    FORMAT,
    MANIFEST,
    FileFacts,
    GraphFiles,
    Manifest,
    Provenance,
    Source,
    Variant,
    encode,
)
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint

CARD, PREVIEW = "README.md", "preview.jpg"


@dataclass(frozen=True)
class Origin:
    """What is exported: the model, ready for use, and the facts that every graph and the manifest carry."""

    checkpoint: Checkpoint
    model: Model
    sha256: str

    @property
    def facts(self) -> dict[str, str]:
        """What every graph says of itself."""
        model = self.model
        return {
            "family": model.family,
            "domains": json.dumps(model.domains, ensure_ascii=False),
            "image_size": str(model.side),
            "stride": str(model.stride),
            "style_dim": str(model.style_size),
            **model.facts,
            "pictures": "uint8 NHWC RGB, 0..255",
            "checkpoint_sha256": self.sha256,
        }


def export_bundle(checkpoint: Path, bundle: Path, options: ExportOptions, progress: Progress) -> Bundle:
    """Write a bundle, or replace one, and open it. `progress` gets a line when a stage is done.

    Raises CheckpointError, OptionError, BundleError (the target holds something else) and ParityError. After an error
    the target is as it was.
    """
    target = writable_target(bundle)
    plans = plans_for(options.backends, options.forms, options.adain)
    with stage(progress, f"read {checkpoint}"):
        origin = _read(checkpoint, options)
    if origin.checkpoint.note:
        progress(origin.checkpoint.note)
    model = origin.model
    with atomic_folder(target) as folder:
        with stage(progress, "traced the networks"):
            traced = trace_generator(model.generator, model.side, model.style_size)
            style_graphs = model.style_graphs()
            for style_graph in style_graphs:
                graph = trace_style_graph(style_graph)
                if any(plan.norms != "native" for plan in plans):
                    without_products(graph)
                write_graph(graph, folder / style_graph.file, origin.facts)
        _check_styles(folder, style_graphs, progress)
        making = Making(folder, traced, model, origin.facts, options.without, progress)
        variants = _variants(making, plans, origin, options)
        means = model.condition(options.mean_draws).means
        if means is not None:
            with stage(progress, f"took each domain's mean style over {options.mean_draws:,} draws"):
                np.savez(folder / means, mean=model.mean_styles(options.mean_draws))
        with stage(progress, "drew the preview"):
            write_image(folder / PREVIEW, _preview(traced, origin))
        manifest = _manifest(folder, origin, options, variants)
        (folder / CARD).write_text(_model_card(manifest, target.name, model), encoding="utf-8")
        (folder / MANIFEST).write_bytes(encode(_with_files(manifest, folder)))
    return open_bundle(target)


def _variants(making: Making, plans: Sequence[Plan], origin: Origin, options: ExportOptions) -> tuple[Variant, ...]:
    """Every graph of the bundle that makes translations, in every precision."""
    (making.folder / GENERATOR).mkdir()
    gate = parity_gate(making)
    usual = [plan for plan in plans if plan.norms == "native"]
    fused = [plan for plan in plans if plan.norms != "native"]
    variants = write_variants(making, usual, gate)
    if not fused and set(options.precision) <= {"fp32"}:
        return variants
    remembered = (origin.checkpoint.dataset or {}).get("path")
    pictures = Pictures(options.calibrate, remembered, options.min_psnr)
    asked = set(options.precision)
    judged = judging(making, pictures, required=bool(asked & {"int8", "fp8"} or (usual and "bf16" in asked)))
    variants += write_precisions(making, variants, options.precision, judged)
    return variants + write_fused(making, fused, options.precision, judged, gate)


def _read(path: Path, options: ExportOptions) -> Origin:
    checkpoint = read_checkpoint(path)
    count = checkpoint.config.domains
    names = options.domains or checkpoint.domain_names
    if len(names) != count or len(set(names)) != count:
        raise OptionError(f"--domains names {', '.join(names)}: {path} has {count} domains, give each its own name")
    return Origin(checkpoint, open_model(checkpoint, names), sha256_of(path))


def _check_styles(folder: Path, graphs: Sequence[StyleGraph], progress: Progress) -> None:
    worst = {Path(graph.file).stem: check_style_graph(folder / graph.file, graph) for graph in graphs}
    if worst:
        figures = ", ".join(f"{name.replace('_', ' ')} {difference:.1e}" for name, difference in worst.items())
        progress(f"  against PyTorch: {figures}")


def _preview(frame: ir.Model, origin: Origin) -> NDArray[np.uint8]:
    data = (origin.checkpoint.dataset or {}).get("path")
    return draw_preview(frame, preview_sources(data, origin.model.side), origin.model.preview_styles())


def _manifest(folder: Path, origin: Origin, options: ExportOptions, variants: tuple[Variant, ...]) -> Manifest:
    model, checkpoint = origin.model, origin.checkpoint
    product = GraphFiles(graph=STYLE_PRODUCT) if (folder / STYLE_PRODUCT).exists() else None
    return Manifest(
        format=FORMAT,
        source=Source(channels=3, height=model.side, width=model.side, stride=model.stride),
        condition=msgspec.structs.replace(model.condition(options.mean_draws), product=product),
        domains=model.domains,
        variants=variants,
        provenance=Provenance(
            family=model.family,
            layout=checkpoint.layout,
            checkpoint=checkpoint.path.name,
            checkpoint_sha256=origin.sha256,
            step=checkpoint.step,
            dataset=options.data or (checkpoint.dataset or {}).get("name"),
            options=checkpoint.options,
            starcast=__version__,
            torch=str(torch.__version__),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        files={},
    )  # fmt: skip


def _with_files(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with size and hash of every file that is there."""
    files = {
        path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return msgspec.structs.replace(manifest, files=files)


def _model_card(manifest: Manifest, name: str, model: Model) -> str:
    parameters = sum(parameter.numel() for parameter in model.generator.parameters())
    return model_card(manifest, model.about, name=name, parameters=parameters)
