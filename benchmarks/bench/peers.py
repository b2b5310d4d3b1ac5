"""The files that peers run: the checkpoint, the plain export, and NNCF's int8 of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from starcast.benchmarks.bench.device import Progress
from starcast.benchmarks.bench.inputs import Inputs, training_images
from starcast.benchmarks.bench.rows import LeftOut, Peer
from starcast.benchmarks.bench.subject import PLAIN, Subject, data_of, latent_styles
from starcast.benchmarks.bench.worker import reason_in
from starcast.errors import EngineError
from starcast.export.families import open_model
from starcast.export.trace import trace_generator
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint

CALIBRATION = 32  # images; more cost minutes at 256 px and hardly move NNCF's ranges


def write_sources(
    peers: Mapping[str, Peer], subject: Subject, checkpoint: Checkpoint, data: Path | None, progress: Progress
) -> tuple[dict[str, Path], dict[str, LeftOut]]:
    """By key, the file that each peer runs, written if need be; and the peers whose file cannot be made."""
    sources, refused = {}, {}
    for key, peer in peers.items():
        if not peer.on_graph:
            sources[key] = subject.checkpoint
            continue
        sources[key] = plain_graph(subject, progress)
        if peer.precision == "int8":
            progress("quantising the plain export with NNCF")
            try:
                sources[key] = write_nncf(sources[key], checkpoint, data_of(checkpoint, data), subject.folder)
            except EngineError as error:
                del sources[key]
                refused[key] = LeftOut(name=peer.name, reason=str(error))
    return sources, refused


def plain_graph(subject: Subject, progress: Progress = lambda _: None) -> Path:
    """The plain export in the subject's folder; a second table of the same subject finds it there."""
    path = subject.folder / PLAIN
    if not path.exists():
        progress("tracing the plain export")
        write_plain(subject.checkpoint, path)
    return path


def write_plain(checkpoint: Path, graph: Path) -> Path:
    """Write the frame graph as the exporter traces it, for any size and batch."""
    read = read_checkpoint(checkpoint)
    model = open_model(read, read.domain_names)
    ir.save(trace_generator(model.generator, model.side, model.style_size), graph)
    return graph


def write_nncf(plain: Path, checkpoint: Checkpoint, data: Path | None, folder: Path) -> Path:
    """Write NNCF's int8 of the plain graph, with NNCF's defaults, for OpenVINO. Raises EngineError with the reason."""
    if importlib.util.find_spec("nncf") is None:
        raise EngineError("nncf is not installed: pip install 'starcast[benchmark]'")
    side = checkpoint.config.image_size
    images = training_images(data, CALIBRATION, (side, side))
    calibration, graph = folder / "calibration.npz", folder / "nncf-int8.xml"
    Inputs(images, latent_styles(checkpoint, CALIBRATION)).save(calibration)
    # in a process of its own: NNCF takes gigabytes, prints, and changes what it imports
    command = [sys.executable, "-m", "starcast.benchmarks.bench.nncf_int8", str(plain), str(calibration), str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"NNCF fails ({reason_in(done.stderr, done.returncode)})")
    return graph
