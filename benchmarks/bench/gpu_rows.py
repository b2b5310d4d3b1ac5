"""The rows of an NVIDIA card: PyTorch in its ways, the plain export, and a bundle on every engine for cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from starcast.benchmarks.bench.method import Method
from starcast.benchmarks.bench.rows import EAGER, OURS, PYTORCH, SPOKEN, TORCH, LeftOut, Peer, Row, engine_of
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Backend, EngineOptions, made_for
from starcast.runtime.manifest import Variant
from starcast.runtime.nvidia.gpu import Gpu, current_gpu
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS

CUDA = "cuda"  # ONNX Runtime's provider
PLAIN_CUDA = "plain-cuda"
CARD_PEERS = {
    EAGER: Peer("PyTorch eager, fp32", PYTORCH, "fp32", "eager", quick=True),
    "eager-tf32": Peer("PyTorch eager as it comes (TF32)", PYTORCH, "tf32", "eager", quick=True),
    "eager-fp16": Peer("PyTorch eager, fp16, channels last", PYTORCH, "fp16", "channels-last", quick=True),
    "graphed-fp16": Peer("PyTorch in a CUDA graph, fp16, channels last", PYTORCH, "fp16", "graphed"),
    "compiled-tf32": Peer("torch.compile max-autotune, TF32", PYTORCH, "tf32", "compiled"),
    "compiled-fp16": Peer("torch.compile max-autotune, fp16", PYTORCH, "fp16", "compiled"),
    PLAIN_CUDA: Peer("plain export on ONNX Runtime, CUDA", CUDA, "fp32", "plain", quick=True),
}
# in the order of the table; what `export --for` calls the graphs of each
ENGINES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt", CUDA: "onnxruntime", TORCH: "openvino"}
SPOKEN_ON_CARD = {
    **SPOKEN, **{name: flavour.title for name, flavour in FLAVOURS.items()},
    CUDA: "ONNX Runtime, CUDA", TORCH: "torch with CUDA graphs",
}  # fmt: skip


def peer_row(key: str, source: Path, size: tuple[int, int], batch: int, method: Method) -> Row:
    """The row of one of CARD_PEERS."""
    peer = CARD_PEERS[key]
    return Row(
        key=key, name=peer.name, engine=peer.engine, precision=peer.precision, form=peer.form, source=source, size=size,
        batch=batch, method=method,
    )  # fmt: skip


def peer_not_run(key: str) -> str | None:
    """Why a peer cannot run here, in words, or None."""
    if CARD_PEERS[key].engine == PYTORCH:
        return None
    reason = engine_of(CARD_PEERS[key].engine).absent()
    return None if reason is None else f"not run: {reason}"


def card_rows(
    bundle: Bundle,
    size: tuple[int, int],
    batch: int,
    method: Method,
    *,
    cache: Path | None = None,
    gpu: Gpu | None = None,
) -> tuple[dict[str, Row], dict[str, LeftOut]]:
    """By key: a row for every variant on every engine for cards that runs it, and those that do not run here, each with
    the reason. `cache`: where engines are, if not in the user's cache; `gpu`: the card; None: the one that is here."""
    gpu = gpu or current_gpu()
    rows: dict[str, Row] = {}
    left_out: dict[str, LeftOut] = {}
    for name, exported in ENGINES.items():
        engine, spoken = engine_of(name), f"starcast on {SPOKEN_ON_CARD[name]}"
        wanted = list(wanted_variants(bundle, engine))
        if not wanted:
            reason = f"not run: {bundle.path} has no graph for it (starcast export --for {exported})"
            left_out[f"{OURS}-{name}"] = LeftOut(name=spoken, reason=reason)
        for variant in wanted:
            key = key_of(engine, variant)
            named = f"{spoken}, {variant.form_name}, {variant.precision}"
            why = never_run(engine, variant, size, gpu) or engine.ready(bundle, variant, EngineOptions(cache=cache))
            if why is not None:
                left_out[key] = LeftOut(name=named, reason=f"not run: {why}")
                continue
            rows[key] = Row(
                key=key, name=named, engine=name, precision=variant.precision, form=variant.form_name,
                source=bundle.path, size=size, batch=batch, variant=variant.file, method=method, cache=cache,
            )  # fmt: skip
    return rows, left_out


def key_of(engine: Backend, variant: Variant) -> str:
    """What --rows calls a variant on an engine."""
    return f"{OURS}-{engine.name}-{variant.form_name}-{variant.precision}"


def wanted_variants(bundle: Bundle, engine: Backend) -> Iterator[Variant]:
    """Those that an engine runs, one a form and precision; an engine that makes a precision by itself in each."""
    seen = set()
    for variant in bundle.manifest.variants:
        if not made_for(variant, engine) or engine.supports(variant) is not None:
            continue
        for precision in (variant.precision, *engine.converts):
            if (variant.form_name, precision) not in seen:
                seen.add((variant.form_name, precision))
                yield msgspec.structs.replace(variant, precision=precision)


def never_run(engine: Backend, variant: Variant, size: tuple[int, int], gpu: Gpu | None) -> str | None:
    """Why an engine does not run a variant on this card, built or not, as a clause; or None."""
    if variant.sizes is not None and size not in variant.sizes:
        return "the graph does not take pictures of that size"
    reason = engine.absent()
    if reason is not None:
        flavour = FLAVOURS.get(engine.name)
        if flavour is not None and gpu is not None and gpu.sm not in FLAVOURS["tensorrt-rtx"].targets:
            return f"no engine for {gpu.sm.replace('sm', 'sm_')} from wheels ({reason})"
    return reason
