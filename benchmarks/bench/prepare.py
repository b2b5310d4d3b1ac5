"""The rows of a table: the peers and variants that the options choose, and the files they run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from starcast.benchmarks.bench.device import Device, Progress
from starcast.benchmarks.bench.model_inputs import calibration_inputs
from starcast.benchmarks.bench.rows import (
    LeftOut,
    Peer,
    Row,
    Setting,
    choose_rows,
    key_of,
    name_of,
    peer_row,
    variant_row,
)
from starcast.benchmarks.bench.subject import PLAIN, Subject
from starcast.benchmarks.bench.worker import reason_in
from starcast.benchmarks.options import BenchOptions
from starcast.errors import EngineError
from starcast.export.families import open_model
from starcast.export.trace import trace_frame
from starcast.runtime.bundle import Bundle
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import read_checkpoint


def bundle_rows(device: Device, bundle: Bundle, setting: Setting) -> tuple[dict[str, Row], dict[str, LeftOut]]:
    """By key, a row for each variant on each engine of the device, and the rows that cannot run here."""
    rows: dict[str, Row] = {}
    left_out = device.without_graphs(bundle)
    for engine, variant in device.pairs(bundle):
        reason = device.why_not(engine, variant, bundle, setting)
        if reason is None:
            row = variant_row(engine, variant, bundle.path, setting)
            rows[row.key] = row
        else:
            left_out[key_of(engine, variant)] = LeftOut(name=name_of(engine, variant), reason=f"not run: {reason}")
    return rows, left_out


def prepare_rows(
    subject: Subject, checkpoint: Checkpoint, options: BenchOptions, device: Device, setting: Setting,
    progress: Progress = lambda _: None,
) -> tuple[list[Row], list[LeftOut]]:  # fmt: skip
    """The rows that the options ask for, the baseline first, and the requested rows that cannot run here.

    If the bundle was generated for this measurement, its missing engines are built.
    """
    ours, left_out = bundle_rows(device, subject.bundle, setting)
    for key, peer in device.peers.items():
        reason = device.why_not_peer(peer)
        if reason is not None:
            left_out[key] = LeftOut(name=peer.name, reason=f"not run: {reason}")
    keys = choose_rows(
        list(dict.fromkeys([*device.peers, *ours, *left_out])), options.rows, peers=device.peers, quick=options.quick
    )
    if subject.engines is not None:
        failed = device.build_missing(
            subject.bundle, setting.size, left_out.keys() & set(keys), subject.engines, progress
        )
        ours, left_out = _after_building(failed, device, subject.bundle, setting, left_out)
    peers = {key: device.peers[key] for key in keys if key in device.peers and key not in left_out}
    sources, refused = write_sources(peers, subject, checkpoint, options.data, progress)
    left_out |= refused
    rows = [
        ours[key] if key in ours else peer_row(key, peers[key], sources[key], setting)
        for key in keys
        if key in ours or key in sources
    ]
    return rows, [left_out[key] for key in keys if key in left_out and key not in ours]


def _after_building(
    failed: Mapping[str, str], device: Device, bundle: Bundle, setting: Setting, left_out: dict[str, LeftOut]
) -> tuple[dict[str, Row], dict[str, LeftOut]]:
    ours, _ = bundle_rows(device, bundle, setting)
    still = {
        key: LeftOut(name=row.name, reason=f"not run: {failed[key]}") if key in failed else row
        for key, row in left_out.items()
        if key not in ours
    }
    return ours, still


CALIBRATION = 32  # images; more cost minutes at 256 px and hardly move NNCF's ranges


def write_sources(
    peers: Mapping[str, Peer], subject: Subject, checkpoint: Checkpoint, data: Path | None, progress: Progress
) -> tuple[dict[str, Path], dict[str, LeftOut]]:
    """Write the files that peers need. Returns them by key, and the peers whose file cannot be written."""
    sources, refused = {}, {}
    for key, peer in peers.items():
        if not peer.on_graph:
            sources[key] = subject.checkpoint
            continue
        sources[key] = plain_graph(subject, progress)
        if peer.precision == "int8":
            progress("quantising the plain export with NNCF")
            try:
                sources[key] = write_nncf(sources[key], checkpoint, data, subject.folder)
            except EngineError as error:
                del sources[key]
                refused[key] = LeftOut(name=peer.name, reason=str(error))
    return sources, refused


def plain_graph(subject: Subject, progress: Progress = lambda _: None) -> Path:
    """The plain export in the subject's folder, written unless an earlier table of this subject has left it there."""
    path = subject.folder / PLAIN
    if not path.exists():
        progress("tracing the plain export")
        write_plain(subject.checkpoint, path)
    return path


def write_plain(checkpoint: Path, graph: Path) -> Path:
    """Write the frame graph as the exporter traces it, for any size and batch."""
    read = read_checkpoint(checkpoint)
    model = open_model(read, read.domain_names)
    ir.save(trace_frame(model), graph)
    return graph


def write_nncf(plain: Path, checkpoint: Checkpoint, data: Path | None, folder: Path) -> Path:
    """Write the plain graph in int8 by NNCF's defaults, for OpenVINO. Raises EngineError with the reason."""
    if importlib.util.find_spec("nncf") is None:
        raise EngineError("nncf is not installed: pip install 'starcast[benchmark]'")
    calibration, graph = folder / "calibration.npz", folder / "nncf-int8.xml"
    calibration_inputs(checkpoint, CALIBRATION, data).save(calibration)
    # in a separate process: NNCF needs gigabytes, prints, and changes the packages it imports
    command = [sys.executable, "-m", "starcast.benchmarks.bench.nncf_int8", str(plain), str(calibration), str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"NNCF fails ({reason_in(done.stderr, done.returncode)})")
    return graph
