"""A checkpoint becomes a bundle: traced, written aside, compared with PyTorch, and only then put in its place."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from starcast import __version__
from starcast.atomic import atomic_folder
from starcast.errors import OptionError
from starcast.export.card import Card, model_card
from starcast.export.flop import count_flop
from starcast.export.means import draw_latents, mean_styles
from starcast.export.options import ExportOptions
from starcast.export.parity import check_generator, check_mapping, check_style_encoder, make_trials
from starcast.export.preview import draw_preview, preview_sources
from starcast.export.target import writable_target
from starcast.export.trace import trace_generator, trace_mapping, trace_style_encoder
from starcast.runtime.bundle import (
    FORMAT,
    MANIFEST,
    Bundle,
    Condition,
    FileFacts,
    LatentMaker,
    Manifest,
    Parity,
    Provenance,
    ReferenceMaker,
    Source,
    Variant,
    encode,
    open_bundle,
    sha256_of,
)
from starcast.runtime.images import write_image
from starcast.train.checkpoint import Checkpoint, averaged_networks, read_checkpoint
from starcast.train.networks.stargan_v2 import Networks, StarGANv2Config

FRAME_GRAPH = "generator/plain-fp32.onnx"
MAPPING, STYLE_ENCODER = "mapping.onnx", "style_encoder.onnx"
STYLES, CARD, PREVIEW = "styles.npz", "README.md", "preview.jpg"
BACKENDS = ("openvino", "onnxruntime")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """What is exported: networks ready for use, and the facts that every graph and the manifest carry."""

    checkpoint: Checkpoint
    networks: Networks
    domains: tuple[str, ...]
    sha256: str

    @property
    def config(self) -> StarGANv2Config:
        """The sizes of the networks."""
        return self.checkpoint.config


def export_bundle(checkpoint: Path, bundle: Path, options: ExportOptions, progress: Progress) -> Bundle:
    """Write a bundle, or replace one, and open it. `progress` gets a line when a stage is done.

    Raises CheckpointError, OptionError, BundleError (the target holds something else) and ParityError. After an error
    the target is as it was.
    """
    target = writable_target(bundle)
    with _stage(progress, f"read {checkpoint}"):
        origin = _read(checkpoint, options)
    if origin.checkpoint.note:
        progress(origin.checkpoint.note)
    with atomic_folder(target) as folder:
        (folder / FRAME_GRAPH).parent.mkdir()
        with _stage(progress, "traced the networks"):
            frame = trace_generator(origin.networks.generator, origin.config)
            _write_graph(frame, folder / FRAME_GRAPH, origin)
            mapping = trace_mapping(origin.networks.mapping_network, origin.config)
            _write_graph(mapping, folder / MAPPING, origin)
            encoder = trace_style_encoder(origin.networks.style_encoder, origin.config)
            _write_graph(encoder, folder / STYLE_ENCODER, origin)
        parity = _check(folder, origin, progress)
        with _stage(progress, f"took each domain's mean style over {options.mean_draws:,} draws"):
            means = mean_styles(
                origin.networks.mapping_network,
                draw_latents(options.mean_draws, origin.config.latent_dim),
                origin.config.domains,
            )
            np.savez(folder / STYLES, mean=means)
        with _stage(progress, "drew the preview"):
            write_image(folder / PREVIEW, _preview(folder / FRAME_GRAPH, origin))
        manifest = _manifest(folder, origin, options, parity, frame)
        (folder / CARD).write_text(model_card(manifest, _card(target, origin)), encoding="utf-8")
        (folder / MANIFEST).write_bytes(encode(_with_files(manifest, folder)))
    return open_bundle(target)


def _read(path: Path, options: ExportOptions) -> Origin:
    checkpoint = read_checkpoint(path)
    count = checkpoint.config.domains
    names = options.domains or checkpoint.domain_names
    if len(names) != count or len(set(names)) != count:
        raise OptionError(f"--domains names {', '.join(names)}: {path} has {count} domains, give each its own name")
    return Origin(checkpoint, averaged_networks(checkpoint).eval(), names, sha256_of(path))


def _write_graph(model: ir.Model, path: Path, origin: Origin) -> None:
    config = origin.config
    model.producer_name, model.producer_version = "starcast", __version__
    model.metadata_props.update(
        {
            "role": str(model.graph.name),
            "family": "stargan_v2",
            "domains": json.dumps(origin.domains, ensure_ascii=False),
            "image_size": str(config.image_size),
            "stride": str(config.stride),
            "style_dim": str(config.style_dim),
            "latent_dim": str(config.latent_dim),
            "pictures": "uint8 NHWC RGB, 0..255",
            "checkpoint_sha256": origin.sha256,
        }
    )
    ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)


def _check(folder: Path, origin: Origin, progress: Progress) -> Parity:
    networks, config = origin.networks, origin.config
    with _stage(progress, "compared with PyTorch"):
        latent = check_mapping(folder / MAPPING, networks.mapping_network, config)
        reference = check_style_encoder(folder / STYLE_ENCODER, networks.style_encoder, config)
        parity = check_generator(folder / FRAME_GRAPH, networks.generator, make_trials(networks, config))
    progress(
        f"  generator {parity.worst:.1e} (bytes within {parity.levels}), mapping {latent:.1e}, "
        f"style encoder {reference:.1e}, over batches of {', '.join(map(str, parity.batches))}"
    )
    return parity


def _preview(graph: Path, origin: Origin) -> NDArray[np.uint8]:
    config = origin.config
    latent = torch.from_numpy(np.random.RandomState(0).standard_normal(config.latent_dim).astype(np.float32))
    with torch.inference_mode():
        styles = origin.networks.mapping_network(latent.expand(config.domains, -1), torch.arange(config.domains))
    data = (origin.checkpoint.dataset or {}).get("path")
    return draw_preview(graph, preview_sources(data, config.image_size), styles.numpy())


def _manifest(folder: Path, origin: Origin, options: ExportOptions, parity: Parity, frame: ir.Model) -> Manifest:
    config, checkpoint = origin.config, origin.checkpoint
    side = config.image_size
    flop = count_flop(frame, {"batch": 1, "styles": 1, "height": side, "width": side})
    return Manifest(
        format=FORMAT,
        source=Source(channels=3, height=side, width=side, stride=config.stride),
        condition=Condition(
            size=config.style_dim,
            latent=LatentMaker(graph=MAPPING, size=config.latent_dim),
            reference=ReferenceMaker(graph=STYLE_ENCODER, height=side, width=side),
            means=STYLES,
            mean_draws=options.mean_draws,
        ),
        domains=origin.domains,
        variants=(
            Variant(
                file=FRAME_GRAPH, backends=BACKENDS, form="plain", precision="fp32", parity=parity, flop=flop,
                bytes=(folder / FRAME_GRAPH).stat().st_size,
            ),
        ),
        provenance=Provenance(
            family="stargan_v2",
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


def _card(target: Path, origin: Origin) -> Card:
    parameters = sum(parameter.numel() for parameter in origin.networks.generator.parameters())
    return Card(name=target.name, parameters=parameters)


@contextmanager
def _stage(progress: Progress, done: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    progress(f"{done} ({time.perf_counter() - start:.1f} s)")
