"""An NVIDIA GPU as a device of `starcast bench`: TensorRT, ONNX Runtime and the torch engine beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from starcast.benchmarks.bench import gpu_figures, report
from starcast.benchmarks.bench.device import Column, Device, Facts, Plan, Progress
from starcast.benchmarks.bench.inputs import parse_counts, size_text
from starcast.benchmarks.bench.limits import Limits, measure_ceilings_apart
from starcast.benchmarks.bench.method import Method, Pace
from starcast.benchmarks.bench.random_weights import MEAN_DRAWS
from starcast.benchmarks.bench.result import Measured, Result
from starcast.benchmarks.bench.rows import (
    EAGER,
    OURS,
    PYTORCH,
    TORCH,
    LeftOut,
    Peer,
    Setting,
    key_of,
    title_of,
)
from starcast.benchmarks.bench.state import gpu_state
from starcast.benchmarks.bench.work import Work
from starcast.benchmarks.options import BenchOptions
from starcast.errors import StarcastError
from starcast.export.options import ADAIN, ExportOptions
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Engine, EngineOptions, is_made_for
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.first_gpu import current_gpu
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.variants import Variant

CUDA = "cuda"  # ONNX Runtime's provider
PLAIN_CUDA = "plain-cuda"
# engine -> the `--for` of the export that writes its graphs, in the table's order
ENGINES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt", CUDA: "onnxruntime", TORCH: "openvino"}
QUICK_ROUNDS, QUICK_BATCHES, QUICK_WINDOW_S, QUICK_SAMPLES = 3, (1, 16), 1.0, 100


class NvidiaGpu(Device):
    """Rows take turns, each a window of runs; then each row's throughput is measured alone, at several batch sizes.

    Only tests set `method` and `gpu`.
    """

    name = "cuda"
    builds_engines = True
    question = "how long does a batch take on this GPU, from inputs to uint8 images, and how many images per second?"
    peers = {  # noqa: RUF012
        EAGER: Peer("PyTorch eager, fp32", PYTORCH, "fp32", "eager", quick=True),
        "eager-tf32": Peer("PyTorch eager with its defaults (TF32)", PYTORCH, "tf32", "eager", quick=True),
        "eager-fp16": Peer("PyTorch eager, fp16, channels last", PYTORCH, "fp16", "channels-last", quick=True),
        "graphed-fp16": Peer("PyTorch in a CUDA graph, fp16, channels last", PYTORCH, "fp16", "graphed"),
        "compiled-tf32": Peer("torch.compile max-autotune, TF32", PYTORCH, "tf32", "compiled"),
        "compiled-fp16": Peer("torch.compile max-autotune, fp16", PYTORCH, "fp16", "compiled"),
        PLAIN_CUDA: Peer("plain export on ONNX Runtime, CUDA", CUDA, "fp32", "plain", quick=True),
    }

    def __init__(self, method: Method = Method(), gpu: Gpu | None = None) -> None:
        self._method = method
        self._gpu = gpu

    @property
    def columns(self) -> tuple[Column, ...]:
        return (
            report.NAME, *gpu_figures.PERCENTILES, report.TIMES_EAGER, report.LEAST, *gpu_figures.PARTS,
            report.PSNR, report.LEVELS,
        )  # fmt: skip

    def plan(self, options: BenchOptions, seconds: float | None = None) -> Plan:
        method, rounds = self._method, options.rounds
        if options.quick:
            rounds = min(rounds, QUICK_ROUNDS)
            method = replace(method, window_s=QUICK_WINDOW_S, window_samples=QUICK_SAMPLES)
        return Plan(pace=Pace(rounds=rounds), threads=1, method=method, batches=batches_of(options))

    def export_options(self) -> ExportOptions:
        return ExportOptions(
            mean_draws=MEAN_DRAWS, precision=("fp32", "fp16", "bf16"), adain=ADAIN,
            backends=("openvino", "onnxruntime", "tensorrt"),
        )  # fmt: skip

    def pairs(self, bundle: Bundle) -> Iterator[tuple[str, Variant]]:
        for name in ENGINES:
            for variant in wanted_variants(bundle, find_engine(name)):
                yield name, variant

    def without_graphs(self, bundle: Bundle) -> dict[str, LeftOut]:
        return {
            f"{OURS}-{name}": LeftOut(
                name=f"starcast on {title_of(name)}",
                reason=f"not run: {bundle.path} has no graph for it (starcast export --for {exported})",
            )
            for name, exported in ENGINES.items()
            if not any(wanted_variants(bundle, find_engine(name)))
        }

    def why_not(self, engine: str, variant: Variant, bundle: Bundle, setting: Setting) -> str | None:
        why_not_ready = find_engine(engine).why_not_ready
        return self._why_never(engine, variant, setting.size) or why_not_ready(
            bundle, variant, EngineOptions(cache=setting.cache)
        )

    def build_missing(
        self, bundle: Bundle, size: tuple[int, int], keys: Collection[str], cache: Path, progress: Progress
    ) -> dict[str, str]:
        failed = {}
        for name in FLAVOURS:
            for variant in wanted_variants(bundle, find_engine(name)):
                key = key_of(name, variant)
                if key in keys and self._why_never(name, variant, size) is None:
                    progress(f"building engines for {key}")
                    reason = build_engines_for(name, variant, bundle, size, cache, progress)
                    if reason is not None:
                        failed[key] = reason
        return failed

    def state(self) -> Facts | None:
        return gpu_state()

    def measure_limits(self, work: Work, setting: Setting) -> Limits:
        return Limits(measure_ceilings_apart(setting.method.device), work)

    def title(self, result: Result) -> str:
        return gpu_figures.title(result)

    def remarks(self, result: Result) -> list[str]:
        return gpu_figures.remarks(result)

    def row_json(self, row: Measured, result: Result) -> dict[str, Any]:
        return gpu_figures.row_json(row, result)

    def record_json(self, result: Result) -> dict[str, Any]:
        return gpu_figures.record_json(result)

    def _why_never(self, name: str, variant: Variant, size: tuple[int, int]) -> str | None:
        """Why an engine cannot run a variant on this GPU, even once built, as a clause; None if it can."""
        if variant.sizes is not None and size not in variant.sizes:
            return "the graph does not take images of that size"
        absence = find_engine(name).absent()
        if absence is None:
            return None
        gpu = self._gpu or current_gpu()
        if name in FLAVOURS and gpu and gpu.sm not in FLAVOURS["tensorrt-rtx"].targets:
            return f"no engine for {gpu.sm.replace('sm', 'sm_')} from wheels ({absence.reason})"
        return absence.reason


def wanted_variants(bundle: Bundle, engine: Engine) -> Iterator[Variant]:
    """The variants an engine runs, one per form and precision. An engine that converts precisions runs each variant in
    all of them."""
    seen = set()
    for variant in bundle.manifest.variants:
        if not is_made_for(variant, engine) or engine.why_unsupported(variant) is not None:
            continue
        for precision in (variant.precision, *engine.converts):
            if (variant.form_name, precision) not in seen:
                seen.add((variant.form_name, precision))
                yield msgspec.structs.replace(variant, precision=precision)


def batches_of(options: BenchOptions) -> tuple[int, ...]:
    """The batch sizes to measure throughput at, in order. Raises OptionError."""
    wanted = tuple(sorted(set(parse_counts("--batches", options.batches))))
    return tuple(batch for batch in wanted if batch in QUICK_BATCHES) or wanted[:1] if options.quick else wanted


def build_engines_for(
    engine: str, variant: Variant, bundle: Bundle, size: tuple[int, int], cache: Path, progress: Callable[[str], None]
) -> str | None:
    """Build a variant's engines into `cache`. Returns why that failed, or None."""
    own = size == bundle.manifest.trained_size
    options = BuildOptions(
        engine=engine, precision=variant.precision, form=variant.form_name, size=None if own else size_text(size)
    )
    try:
        failed = build_engines(bundle.path, options, progress=progress, folder=cache).failed
    except StarcastError as error:
        return str(error)
    return failed[0] if failed else None
