"""The graphs that a user would have without starcast: the plain export, and NNCF's int8 of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from starcast.benchmarks.bench.inputs import Inputs, training_pictures
from starcast.benchmarks.bench.worker import reason_in
from starcast.errors import EngineError
from starcast.export.families import open_model
from starcast.export.trace import trace_generator
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families.stargan_v2.networks import Networks

CALIBRATION = 32  # pictures; more of them cost minutes at 256 px and hardly move NNCF's ranges


def write_plain(checkpoint: Path, graph: Path) -> Path:
    """The frame graph as the exporter gives it, for any size and batch."""
    read = read_checkpoint(checkpoint)
    model = open_model(read, read.domain_names)
    ir.save(trace_generator(model.generator, model.side, model.style_size), graph)
    return graph


def latent_styles(networks: Networks, latent_dim: int, domains: int, count: int) -> np.ndarray:
    """Styles float32 [count, S] of latents, the domains in turn; the first is seed 0 in domain 0."""
    latents = np.random.RandomState(0).standard_normal((count, latent_dim)).astype(np.float32)
    with torch.inference_mode():
        made = networks.mapping_network(torch.from_numpy(latents), torch.arange(count) % domains)
    return made.numpy()  # type: ignore[no-any-return]


def write_nncf(plain: Path, checkpoint: Path, data: Path | None, folder: Path) -> Path:
    """NNCF's int8 of the plain graph, as its default is, for OpenVINO. Raises EngineError with the reason if not."""
    if importlib.util.find_spec("nncf") is None:
        raise EngineError("nncf is not installed: pip install 'starcast[benchmark]'")
    read = read_checkpoint(checkpoint)
    config, side = read.config, read.config.image_size
    pictures = training_pictures(data, CALIBRATION, (side, side))
    styles = latent_styles(averaged_networks(read), config.latent_dim, config.domains, CALIBRATION)
    calibration, graph = folder / "calibration.npz", folder / "nncf-int8.xml"
    Inputs(pictures, styles).save(calibration)
    # in a process of its own: it takes gigabytes, prints, and changes what it imports
    command = [sys.executable, "-m", "starcast.benchmarks.bench.nncf_int8", str(plain), str(calibration), str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"NNCF fails ({reason_in(done.stderr, done.returncode)})")
    return graph
