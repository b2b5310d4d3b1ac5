"""Is the Triton AdaIN kernel faster than torch's operators, at every size of AFHQ's generator, and in a training step?

    python -m starcast.benchmarks.adain_kernel --json FILE         exit status 2: there is no card

AdaIN + leaky ReLU three ways: torch eager, torch.compile (max-autotune), the kernel; in both memory formats, at batch 8
and 1. Calls are recorded as CUDA graphs, so that it is the card that is timed and not Python, and take their inputs in
turn from more memory than a cache holds. The ways are interleaved round by round, and each gets its median. GB/s count
one read and one write of the planes, whatever is really moved, beside the copy bandwidth measured in the same run.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from starcast.benchmarks.card_clock import CardClock
from starcast.benchmarks.card_facts import card_facts
from starcast.benchmarks.ceilings import ceilings_in_own_process
from starcast.benchmarks.record import provenance, write_result
from starcast.errors import StarcastError
from starcast.runtime.cuda.gpu import current_gpu, why_no_gpu
from starcast.train.adain import Implementation, adain_leaky_relu
from starcast.train.networks.stargan_v2 import StarGANv2Config, averaged_copy, build_networks
from starcast.train.step import Batch, StepOptions, build_optimizers, training_step

SIZES = ((64, 256), (64, 128), (128, 128), (128, 64), (256, 64), (256, 32), (512, 32), (512, 16))  # channels, side
LARGEST = (64, 256)
BATCHES = (8, 1)
FORMATS = {"channels last": torch.channels_last, "linear": torch.contiguous_format}
DTYPE = torch.float16
FOOTPRINT = 2**28  # bytes of inputs that calls take in turn: more than the 50 MB that an H100's cache holds
MOST_PLANES = 500
CALLS, ROUNDS = 20, 15  # in one recorded graph, at least; of all ways, interleaved
STEPS = 10  # of training, of each way

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One size at one batch in one format: microseconds a call, by the way it is computed, and the worst error of each
    against float64, on outputs of order one."""

    channels: int
    side: int
    batch: int
    format: str
    microseconds: Mapping[str, float]
    errors: Mapping[str, float]

    @property
    def gigabytes(self) -> float:
        """One read and one write of the planes."""
        return 2 * self.batch * self.channels * self.side**2 * DTYPE.itemsize / 1e9

    def gb_per_s(self, way: str) -> float:
        return self.gigabytes / self.microseconds[way] * 1e6

    def times_faster_than(self, way: str) -> float:
        """The kernel, than another way."""
        return self.microseconds[way] / self.microseconds["triton"]


def bars(rows: Sequence[Row], step_ms: Mapping[str, float], copy_gb_per_s: float) -> dict[str, bool]:
    """Whether the kernel is what it is meant to be, at batch 8; batch 1 is told without a bar."""
    asked = [row for row in rows if row.batch == max(BATCHES)]
    largest = [row for row in asked if (row.channels, row.side) == LARGEST]
    return {
        "at least 2.5 times eager, at every size": all(row.times_faster_than("eager") >= 2.5 for row in asked),
        "at least as fast as torch.compile, at every size": all(
            row.times_faster_than("compiled") >= 1 for row in asked
        ),
        "70 % of the copy bandwidth at 64x256x256": all(
            row.gb_per_s("triton") >= 0.7 * copy_gb_per_s for row in largest
        ),
        "as near to float64 as eager, at every size": all(row.errors["triton"] <= row.errors["eager"] for row in rows),
        "a faster training step": bool(step_ms) and step_ms["triton"] < step_ms["reference"],
    }


def as_json(row: Row, copy_gb_per_s: float) -> dict[str, Any]:
    """A row's figures, rounded to what they are good for."""
    return {
        "channels": row.channels, "side": row.side, "batch": row.batch, "format": row.format,
        "ways": {
            way: {
                "microseconds": round(time, 2), "gb_per_s": round(row.gb_per_s(way), 1),
                "of_copy_bandwidth": round(row.gb_per_s(way) / copy_gb_per_s, 3), "error": row.errors[way],
            }
            for way, time in row.microseconds.items()
        },
        "times_faster_than_eager": round(row.times_faster_than("eager"), 2),
        "times_faster_than_compiled": round(row.times_faster_than("compiled"), 2),
    }  # fmt: skip


def line(row: Row, copy_gb_per_s: float) -> str:
    """A row for people."""
    times = "  ".join(f"{way} {time:8.1f} us" for way, time in row.microseconds.items())
    return (
        f"{row.batch} x {row.channels:3} x {row.side:3}² {row.format:13}  {times}  "
        f"{row.gb_per_s('triton'):6.0f} GB/s ({row.gb_per_s('triton') / copy_gb_per_s:.0%} of a copy)"
    )


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each gives, asked round by round: a card that grows warm does so for all."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(runs[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def measured(channels: int, side: int, batch: int, format: str, clock: CardClock) -> Row:
    """Time and check every way at one size."""
    with torch.inference_mode():  # all of it: torch.compile would compile once more for what is behind it
        return _measured(channels, side, batch, format, clock)


def _measured(channels: int, side: int, batch: int, format: str, clock: CardClock) -> Row:
    shape = (batch, channels, side, side)
    count = max(1, min(MOST_PLANES, FOOTPRINT // (batch * channels * side**2 * DTYPE.itemsize)))
    planes = [
        torch.randn(shape, device=clock.device).to(DTYPE).contiguous(memory_format=FORMATS[format])
        for _ in range(count)
    ]
    scale, shift = 0.5 + torch.rand(shape[:2], device=clock.device), torch.randn(shape[:2], device=clock.device)
    right = adain_leaky_relu(planes[0].double(), scale.double(), shift.double())
    ways, recorded, errors = _ways(), {}, {}
    for name, norm in ways.items():
        # in the reference a float32 style would make the planes float32: networks give it in their own type
        style = (scale, shift) if name == "triton" else (scale.to(DTYPE), shift.to(DTYPE))
        errors[name] = float((norm(planes[0], *style).double() - right).abs().max())
        recorded[name] = _recorded(norm, planes, style, clock)
    return Row(channels, side, batch, format, interleaved(recorded, ROUNDS), errors)


def step_times(clock: CardClock) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of a training step of AFHQ's networks in bfloat16, batch 8, and GiB at its peak, by the norms."""
    config = StarGANv2Config(image_size=256, domains=3)
    options = StepOptions(autocast=True)
    image = torch.randn(8, 3, 256, 256)
    domain = torch.arange(8) % 3
    latent = torch.randn(8, config.latent_dim)
    batch = Batch(image, domain, image.flip(0), image.flip(3), domain.flip(0), latent, latent.flip(0))
    batch = batch.to(clock.device, torch.channels_last)
    memory: dict[str, float] = {}

    def stepping(implementation: Implementation) -> Callable[[], float]:
        networks = build_networks(config, seed=0).to(clock.device, torch.channels_last).use_adain(implementation)
        averaged, optimizers = averaged_copy(networks), build_optimizers(networks)

        def run() -> float:
            torch.cuda.reset_peak_memory_stats()
            first = clock.mark()
            training_step(networks, averaged, optimizers, batch, 0, options)
            last = clock.mark()
            clock.wait()
            memory[implementation] = torch.cuda.max_memory_allocated() / 2**30
            return clock.between_ms(first, last)

        for _ in range(3):
            run()
        return run

    torch.backends.cudnn.benchmark = True
    runs = {name: stepping(name) for name in ("reference", "triton")}
    return interleaved(runs, STEPS), memory


def _ways() -> dict[str, Norm]:
    compiled: Norm = torch.compile(adain_leaky_relu, dynamic=False, mode="max-autotune-no-cudagraphs")

    def fused(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return adain_leaky_relu(x, scale, shift, implementation="triton")

    return {"eager": adain_leaky_relu, "compiled": compiled, "triton": fused}


def _recorded(
    norm: Norm, planes: Sequence[Tensor], style: tuple[Tensor, Tensor], clock: CardClock
) -> Callable[[], float]:
    """Microseconds of one call, of as many in one recorded graph as read every plane."""
    calls = max(CALLS, len(planes))
    aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            norm(planes[0], *style)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for number in range(calls):
            norm(planes[number % len(planes)], *style)
    read = (*planes, *style)  # by their addresses alone: they have to live as long as the graph

    def run() -> float:
        assert read
        graph.replay()  # keeps the card busy while the next launch is prepared
        first = clock.mark()
        graph.replay()
        last = clock.mark()
        clock.wait()
        return clock.between_ms(first, last) * 1000 / calls

    return run


def record(
    rows: Sequence[Row], step_ms: Mapping[str, float], step_gib: Mapping[str, float], copy_gb_per_s: float,
    gpu: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What is written."""
    return {
        "question": (__doc__ or "").partition("\n")[0],
        "card": {**gpu, "facts": card_facts()},
        **provenance(threads=torch.get_num_threads(), program="python -m starcast.benchmarks.adain_kernel"),
        "method": {
            "calls": CALLS, "rounds": ROUNDS, "footprint_bytes": FOOTPRINT, "most_planes": MOST_PLANES,
            "type": str(DTYPE), "steps": STEPS, "statistic": "median",
        },
        "copy_gb_per_s": round(copy_gb_per_s, 1),
        "rows": [as_json(row, copy_gb_per_s) for row in rows],
        "training_step": {"batch": 8, "type": "bf16", "milliseconds": dict(step_ms), "peak_gib": dict(step_gib)},
        "bars": bars(rows, step_ms, copy_gb_per_s),
    }  # fmt: skip


@click.command()
@click.option("--json", "target", type=click.Path(path_type=Path), required=True, help="Where to write the figures.")
def main(target: Path) -> None:
    """Time the AdaIN kernel beside torch's operators. Example: adain_kernel --json adain-kernel.json"""
    gpu = current_gpu()
    if gpu is None or not torch.cuda.is_available():
        click.echo(
            f"Error: there is no NVIDIA card to time the kernel on ({why_no_gpu() or 'this torch has no CUDA'}): "
            "run it on a machine with one",
            err=True,
        )
        sys.exit(2)
    try:
        copy_gb_per_s = ceilings_in_own_process("cuda").copy_gb_per_s
    except StarcastError as error:
        raise click.ClickException(str(error)) from error
    clock = CardClock("cuda")
    rows: list[Row] = []

    def write(step_ms: Mapping[str, float], step_gib: Mapping[str, float]) -> dict[str, bool]:
        """What there is by now: what ends the run should not take its figures along."""
        found = record(rows, step_ms, step_gib, copy_gb_per_s, asdict(gpu))
        write_result(target, found)
        met: dict[str, bool] = found["bars"]
        return met

    for channels, side in SIZES:
        for batch in BATCHES:
            for format in FORMATS:
                rows.append(measured(channels, side, batch, format, clock))
                torch.compiler.reset()  # one shape's kernels say nothing of the next, and eight of them are its limit
                click.echo(line(rows[-1], copy_gb_per_s))
                write({}, {})
    try:
        step = step_times(clock)
    except RuntimeError as error:  # two of AFHQ's trainings are on the card at once: not every card holds them
        raise click.ClickException(
            f"the kernel's figures are in {target}, a training step has none: {error}"
        ) from error
    for bar, reached in write(*step).items():
        click.echo(f"{'reached' if reached else 'MISSED':8} {bar}")


if __name__ == "__main__":
    main()
