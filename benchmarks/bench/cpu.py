"""The CPU as a device of `starcast bench`: OpenVINO, ncnn and ONNX Runtime beside PyTorch and the plain export."""

from __future__ import annotations

from collections.abc import Iterator

from starcast.benchmarks.bench import report
from starcast.benchmarks.bench.device import Column, Device, Plan
from starcast.benchmarks.bench.inputs import size_text
from starcast.benchmarks.bench.method import ONE_RUN, Pace
from starcast.benchmarks.bench.random_weights import MEAN_DRAWS
from starcast.benchmarks.bench.result import Result
from starcast.benchmarks.bench.rows import EAGER, OURS, PYTORCH, LeftOut, Peer, Setting, title_of
from starcast.benchmarks.options import BenchOptions
from starcast.export.options import ExportOptions
from starcast.export.precisions import CPU_ENGINES, precisions_for
from starcast.runtime.bundle import Bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.machine import processor
from starcast.runtime.variants import Variant

NNCF = "nncf-openvino"


class Cpu(Device):
    """Rows take turns; a turn is one untimed and one timed run."""

    name = "cpu"
    question = "how long does a batch take, from inputs to uint8 images, compared with eager PyTorch in the same round?"
    peers = {  # noqa: RUF012
        EAGER: Peer("PyTorch eager", PYTORCH, "fp32", "eager", quick=True),
        "eager-channels-last": Peer("PyTorch eager, channels last", PYTORCH, "fp32", "channels-last", quick=True),
        "compiled": Peer("torch.compile", PYTORCH, "fp32", "compiled"),
        "eager-bf16": Peer("PyTorch eager, bf16", PYTORCH, "bf16", "channels-last"),
        "compiled-bf16": Peer("torch.compile, bf16", PYTORCH, "bf16", "compiled"),
        "plain-onnxruntime": Peer("plain export on ONNX Runtime", "onnxruntime", "fp32", "plain", quick=True),
        "plain-openvino": Peer("plain export on OpenVINO", "openvino", "fp32", "plain", quick=True),
        NNCF: Peer("plain export on OpenVINO, NNCF's int8", "openvino", "int8", "plain"),
    }

    @property
    def columns(self) -> tuple[Column, ...]:
        return (
            report.NAME, report.MEDIAN, report.P95, report.IMAGES, report.TIMES_EAGER, report.LEAST, report.PSNR,
            report.LEVELS, report.CPU_TIME, report.PEAK_MEMORY,
        )  # fmt: skip

    def plan(self, options: BenchOptions, seconds: float | None = None) -> Plan:
        threads = options.threads or allowed_threads()
        return Plan(pace=Pace(rounds=options.rounds, seconds=seconds), threads=threads, method=ONE_RUN)

    def export_options(self) -> ExportOptions:
        return ExportOptions(mean_draws=MEAN_DRAWS, precision=precisions_for(CPU_ENGINES))

    def quick_options(self) -> ExportOptions:
        return ExportOptions(precision=("fp32", "bf16"))  # the search for int8 takes minutes

    def pairs(self, bundle: Bundle) -> Iterator[tuple[str, Variant]]:
        for variant in bundle.manifest.variants:
            for engine in variant.engines:
                if not _needs_gpu(engine):
                    yield engine, variant

    def without_graphs(self, bundle: Bundle) -> dict[str, LeftOut]:
        engines = {engine for variant in bundle.manifest.variants for engine in variant.engines if _needs_gpu(engine)}
        return {
            f"{OURS}-{engine}": LeftOut(
                name=f"starcast on {title_of(engine)}", reason="needs an NVIDIA GPU: --device cuda measures it"
            )
            for engine in sorted(engines)
        }

    def why_not(self, engine: str, variant: Variant, bundle: Bundle, setting: Setting) -> str | None:
        if engine not in ENGINES:
            return "this version of starcast has no such engine"
        if variant.sizes is not None and setting.size not in variant.sizes:
            return f"takes {', '.join(size_text(size) for size in variant.sizes)} only (width x height)"
        return ENGINES[engine].why_cannot_run(variant)

    def title(self, result: Result) -> str:
        row, cpu = result.table.baseline.row, processor()
        threads = "1 thread" if row.setting.threads == 1 else f"{row.setting.threads} threads"
        setting = f"{size_text(row.setting.size)} px, batch {row.setting.batch}, {threads}"
        return f"{setting} on {cpu.name} ({', '.join(cpu.instruction_sets)})"


def _needs_gpu(engine: str) -> bool:
    return engine in ENGINES and ENGINES[engine].on_gpu
