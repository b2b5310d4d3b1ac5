"""Which rows a table has: the options' choice among the peers and the bundle's variants, their files written."""

from __future__ import annotations

from collections.abc import Mapping

from starcast.benchmarks.bench.device import Device, Progress
from starcast.benchmarks.bench.peers import write_sources
from starcast.benchmarks.bench.rows import LeftOut, Row, Setting, choose_rows, key_of, name_of, peer_row, variant_row
from starcast.benchmarks.bench.subject import Subject
from starcast.benchmarks.options import BenchOptions
from starcast.runtime.bundle import Bundle
from starcast.train.checkpoint.content import Checkpoint


def bundle_rows(device: Device, bundle: Bundle, setting: Setting) -> tuple[dict[str, Row], dict[str, LeftOut]]:
    """By key: a row for every variant on every engine of the device, and those that do not run here."""
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
    """The rows that the options ask for, the baseline first, and those of them that do not run here.

    A bundle that was generated for this measurement gets its missing engines built.
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
