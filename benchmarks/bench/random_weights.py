"""Checkpoints and bundles of random weights: full-size networks to time when there is no trained one.

The networks have the sizes that their originals use. A random network amplifies every rounding. In smaller precisions
it shows how long an image takes, not how good it is.
So its export has to pass only a lower gate (MIN_PSNR); the table keeps the usual one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir

from starcast.atomic import atomic_folder
from starcast.export.families import open_model
from starcast.export.gate.candidates import translate_with_torch
from starcast.export.gate.images import draw_images
from starcast.export.gate.parity import make_trials
from starcast.export.gate.quality import Verdict
from starcast.export.graphs.files import write_graph
from starcast.export.options import ExportOptions
from starcast.export.plan import FrameGraph, plans_for, select_plans
from starcast.export.source import read_source
from starcast.export.store import Store, writable_target
from starcast.export.targets.ncnn_layer import NoCounterpartError
from starcast.export.targets.onnx import make_float32
from starcast.export.write import NOISE, describe_bundle, export_bundle, with_files
from starcast.hold import hold
from starcast.images.write import write_image
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.manifest import MANIFEST
from starcast.runtime.manifest_json import encode
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.data.batch import TensorBatch
from starcast.train.data.folders import scan
from starcast.train.families import DEFAULT, family, originals
from starcast.train.options import TrainOptions

SPREAD = 0.45  # standard deviation of photographs' colours in -1..1
MIN_PSNR = 20.0
MEAN_DRAWS = 1000  # nobody looks at the mean styles of random networks
CALIBRATION = 40  # images


def config_of(image_size: int, domains: int) -> Any:
    """The config of the default family's networks for images of this size."""
    return family(DEFAULT).read_config({"image_size": image_size, "domains": domains})


def original_config(name: str) -> tuple[Any, tuple[str, ...]]:
    """The config of a model in the sizes that its authors used, and its domains or labels."""
    of, model = originals()[name]
    return family(of).read_config(model.config), model.domain_names


def write_random_checkpoint(path: Path, config: Any, domains: Sequence[str]) -> None:
    """Write a checkpoint of networks with random weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    networks = random_networks(config)
    write_checkpoint(path, config=config, domain_names=tuple(domains), step=0, averaged=networks)


def random_networks(config: Any) -> Any:
    """Averaged networks with random weights, whose images have about the contrast of photographs."""
    networks: Any = family(config.family).random_networks(config, seed=0)
    names = tuple(f"domain {number}" for number in range(config.domains))
    model = open_model(
        Checkpoint(
            path=Path("random"), layout="starcast", family=config.family, config=config, domain_names=names, step=0,
            averaged=networks.state_dicts(),
        ),
        names,
    )  # fmt: skip
    factor = SPREAD / float(translate_with_torch(model.reference, make_trials(model)[0]).std())
    for parameter in networks.generator.parameters():
        if parameter.ndim and len(parameter) == model.channels:  # a weight or bias of a layer that makes colours
            parameter.data *= factor
    return networks


def export_random(
    checkpoint: Path, bundle: Path, config: Any, options: ExportOptions,
    progress: Callable[[str], None] = lambda _: None, calibration: int = CALIBRATION,
) -> Bundle:  # fmt: skip
    """Export a checkpoint of random weights, calibrated on generated images if it translates images."""
    options, side = replace(options, min_psnr=MIN_PSNR), config.image_size
    if config.stride is None:
        return export_bundle(checkpoint, bundle, options, progress)
    with TemporaryDirectory() as folder:
        for number, image in enumerate(draw_images(calibration, side, side, seed=9)):
            write_image(Path(folder) / f"{number}.png", image)
        return export_bundle(checkpoint, bundle, replace(options, calibrate=Path(folder)), progress)


def export_ungated(
    checkpoint: Path, bundle: Path, options: ExportOptions, plain: Path, progress: Callable[[str], None]
) -> Bundle:
    """Export a checkpoint without the gates, for the CPU, in seconds instead of minutes, and write its plain graph.

    Only for measurements that compare each graph's images themselves.
    """
    source = read_source(checkpoint, options, progress)
    plans = select_plans(plans_for(options), source.model)
    ir.save(source.frame.clone(), plain)
    with hold(bundle), atomic_folder(writable_target(bundle)) as folder:
        for file, graph in source.styles.items():
            write_graph(graph, folder / file, source.facts)
        store, made = Store(folder, source.facts), dict[str, FrameGraph]()
        for plan in plans:
            progress(f"writing {plan.name}")
            if plan.is_hint:
                frame = replace(made[plan.file], plan=plan)
            else:
                frame = made[plan.file] = make_float32(source.frame, plan, source.model.side)
            try:
                store.add(frame, store.write(frame), Verdict())
            except NoCounterpartError as error:
                progress(f"ncnn is left out: {error.clause}")
        if source.model.noise:
            np.savez(folder / NOISE, **source.model.noise)  # type: ignore[arg-type]
        manifest = describe_bundle(source, store, options)
        condition = msgspec.structs.replace(manifest.condition, means=None, mean_draws=None)
        manifest = msgspec.structs.replace(manifest, condition=condition)
        (folder / MANIFEST).write_bytes(encode(with_files(manifest, folder)))
    return open_bundle(bundle)


IMAGES = 4  # of each domain


def draw_batch(options: TrainOptions, domains: int) -> TensorBatch:
    """The first batch of a training run on noise images, in uint8."""
    size, draws = options.network.image_size, np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for domain in range(domains):
            place = Path(folder) / f"domain-{domain}"
            place.mkdir()
            for number in range(IMAGES):
                write_image(place / f"{number}.png", draws.integers(0, 256, (size, size, 3), np.uint8))
        drawn = family(options.family).batches(scan(Path(folder)), options, workers=0)[0]
    assert drawn.batch is not None, drawn.failure
    return drawn.batch
