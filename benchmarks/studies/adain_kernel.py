"""Is the Triton AdaIN kernel faster than torch's operators, at every size of AFHQ's generator, and in a training step?

    python -m starcast.benchmarks.studies.adain_kernel -o FILE [--only norms|step]   exit status 2: no GPU

AdaIN + leaky ReLU is run by torch eager, torch.compile (max-autotune) and the kernel, in both memory formats, at batch
8 and 1. Triton times the calls as CUDA graphs, so that Python is not timed; calls cycle through more inputs than the
cache holds. The implementations take turns round by round, and the median of each is reported. GB/s count one read and
one write of the planes, whatever is really moved; they are compared with a copy of 1 GiB in the same rounds.

Figures already in FILE, for the same GPU, code and versions, are kept: the same command resumes an interrupted run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.bench.state import gpu_state
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies import adain_timing
from starcast.benchmarks.studies.adain_figures import DTYPE, PLANES, Planes, Row, Step, as_json, bars, from_json, line
from starcast.benchmarks.studies.adain_timing import measure_planes, measure_step
from starcast.click_options import out_option
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu

PROGRAM = "python -m starcast.benchmarks.studies.adain_kernel"
SAME = ("gpu", "versions", "sources", "method")  # fields that must agree for figures to share a record
METHOD = {
    "timer": "triton.testing.do_bench_cudagraph", "rep_ms": adain_timing.REP_MS,
    "rounds": adain_timing.ROUNDS, "footprint_bytes": adain_timing.FOOTPRINT,
    "max_inputs": adain_timing.MAX_INPUTS, "warm_up_s": adain_timing.WARM_UP_S, "type": str(DTYPE),
    "steps": adain_timing.STEPS, "statistic": "median",
    "outputs": "as many outputs as inputs are kept alive, so that no call writes to what the cache holds of the last",
    "formats": "torch's operators give contiguous results for channels last planes: 'eager' and 'compiled' turn them "
    "to channels last, the latter within what is compiled; 'eager, linear result' leaves that out, and "
    "times_faster_than_eager is over the faster of the two",
    "copy": "of 1 GiB within the GPU, as limits.py does it, in the rounds of the row's other implementations; "
    "microseconds are those of as many bytes as the row's planes",
    "training_step": f"AFHQ's networks at 256x256 in bf16, batch {adain_timing.BATCH}; both trainings are on the GPU "
    "at once, so that the peak of each includes the other's weights",
}  # fmt: skip
VERDICTS = {True: "reached", False: "MISSED", None: "not measured"}


def origin(gpu: Gpu) -> dict[str, Any]:
    """Where this process's figures come from."""
    return {
        "gpu": {**asdict(gpu), "compute_capability": list(gpu.compute_capability)},  # a list, as JSON returns it
        **provenance(threads=torch.get_num_threads(), program=PROGRAM),
        "method": METHOD,
    }


def read_figures(target: Path, here: Mapping[str, Any]) -> tuple[dict[Planes, Row], Step]:
    """The rows and the step in a file, if their origin is this one. Raises ClickException for another kind of file."""
    if not target.exists():
        return {}, Step()
    try:
        old = json.loads(target.read_text(encoding="utf-8"))
        differing = [name for name in SAME if old[name] != here[name]]
        rows, step = [from_json(row) for row in old["rows"]], Step(**old["training_step"])
    except (ValueError, TypeError, LookupError) as error:
        raise click.ClickException(f"{target} is not a record of this benchmark: give another name") from error
    if differing:
        click.echo(f"{target} differs in {', '.join(differing)}: measuring everything again")
        return {}, Step()
    return {row.planes: row for row in rows}, step


def record(here: Mapping[str, Any], rows: Mapping[Planes, Row], step: Step) -> dict[str, Any]:
    """The rows, the step and the bars as JSON, with where they come from."""
    return {
        "question": (__doc__ or "").partition("\n")[0],
        **here,
        "gpu_state": gpu_state(),
        "rows": [as_json(row) for row in rows.values()],
        "training_step": asdict(step),
        "bars": bars(rows.values(), step),
    }


@click.command()
@out_option("target", "a JSON record of the figures; an existing one is resumed.", aliases=("--json",))
@click.option("--only", type=click.Choice(["norms", "step"]), help="The norms alone, or the training step alone.")
def main(target: Path, only: str | None) -> None:
    """Time the AdaIN kernel beside torch's operators, and resume from OUT.

    Example: python -m starcast.benchmarks.studies.adain_kernel -o adain-kernel.json
    """
    gpu = current_gpu()
    if gpu is None or not torch.cuda.is_available():
        click.echo(
            f"Error: there is no NVIDIA GPU to time the kernel on ({why_no_gpu() or 'this torch has no CUDA'}): "
            "run it on a machine with one",
            err=True,
        )
        sys.exit(2)
    here = origin(gpu)
    rows, step = read_figures(target, here)
    if only != "norms" and not step.whole:
        step = measure_step(DeviceClock("cuda"))
        click.echo(f"training step: {asdict(step)}")
        write_result(target, record(here, rows, step))
    left = [planes for planes in PLANES if planes not in rows or rows[planes].failures]
    # previously failed rows run last, so that one that crashes the process costs no other row
    for planes in sorted(left, key=lambda planes: planes in rows) if only != "step" else []:
        rows[planes] = measure_planes(planes)
        click.echo(line(rows[planes]))
        write_result(target, record(here, rows, step))
    for bar, reached in bars(rows.values(), step).items():
        click.echo(f"{VERDICTS[reached]:12} {bar}")


if __name__ == "__main__":
    main()
