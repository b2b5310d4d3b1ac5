"""Is the Triton AdaIN kernel faster than torch's operators, at every size of AFHQ's generator, and in a training step?

    python -m starcast.benchmarks.studies.adain_kernel -o FILE [--only norms|step]   exit status 2: no GPU

AdaIN + leaky ReLU three ways: torch eager, torch.compile (max-autotune), the kernel; in both memory formats, at batch 8
and 1. Calls are recorded as CUDA graphs, so that it is the card that is timed and not Python, and take their inputs in
turn from more memory than a cache holds. The ways are interleaved round by round, and each gets its median. GB/s count
one read and one write of the planes, whatever is really moved, beside a copy of 1 GiB in the same rounds.

What FILE has of the same card, code and versions is kept: the same command goes on where one was cut off.
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

from starcast.benchmarks.bench.clock import DeviceClock
from starcast.benchmarks.bench.gpu_state import gpu_state
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies import adain_norms, adain_step
from starcast.benchmarks.studies.adain_figures import DTYPE, PLANES, Planes, Row, Step, as_json, bars, from_json, line
from starcast.benchmarks.studies.adain_norms import measured
from starcast.benchmarks.studies.adain_step import step_times
from starcast.flags import out_option
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu
from starcast.runtime.nvidia.gpu import Gpu

PROGRAM = "python -m starcast.benchmarks.studies.adain_kernel"
SAME = ("card", "versions", "sources", "method")  # in records whose figures may stand in one table
METHOD = {
    "calls": adain_norms.CALLS, "rounds": adain_norms.ROUNDS, "footprint_bytes": adain_norms.FOOTPRINT,
    "most_inputs": adain_norms.MOST_INPUTS, "warm_up_s": adain_norms.WARM_UP_S, "type": str(DTYPE),
    "steps": adain_step.STEPS, "statistic": "median",
    "outputs": "every call of a recorded graph writes to memory of its own, not to what the cache holds of the last",
    "formats": "torch's operators give contiguous results for channels last planes: 'eager' and 'compiled' turn them "
    "to channels last, the latter within what is compiled; 'eager, linear result' leaves that out, and "
    "times_faster_than_eager is over the faster of the two",
    "copy": "of 1 GiB within the card, as ceilings.py does it, in the process and the rounds of the row's other ways; "
    "microseconds are those of as many bytes as the row's planes",
    "training_step": f"AFHQ's networks at 256x256 in bf16, batch {adain_step.BATCH}; both trainings are on the card at "
    "once, so that the peak of each holds the weights of the other",
}  # fmt: skip
VERDICTS = {True: "reached", False: "MISSED", None: "not measured"}


def origin(gpu: Gpu) -> dict[str, Any]:
    """Where figures of this process come from."""
    return {
        "card": {**asdict(gpu), "compute_capability": list(gpu.compute_capability)},  # as JSON gives it back
        **provenance(threads=torch.get_num_threads(), program=PROGRAM),
        "method": METHOD,
    }


def kept(target: Path, here: Mapping[str, Any]) -> tuple[dict[Planes, Row], Step]:
    """The rows and the step that a file has, if they are of the same origin. Raises ClickException for another kind of
    file."""
    if not target.exists():
        return {}, Step()
    try:
        found = json.loads(target.read_text(encoding="utf-8"))
        differing = [name for name in SAME if found[name] != here[name]]
        rows, step = [from_json(row) for row in found["rows"]], Step(**found["training_step"])
    except (ValueError, TypeError, LookupError) as error:
        raise click.ClickException(f"{target} is no record of this benchmark: give another name") from error
    if differing:
        click.echo(f"{target} is measured anew: it has other figures for {', '.join(differing)}")
        return {}, Step()
    return {row.planes: row for row in rows}, step


def record(here: Mapping[str, Any], rows: Mapping[Planes, Row], step: Step) -> dict[str, Any]:
    """What is written."""
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
            f"Error: there is no NVIDIA card to time the kernel on ({why_no_gpu() or 'this torch has no CUDA'}): "
            "run it on a machine with one",
            err=True,
        )
        sys.exit(2)
    here, clock = origin(gpu), DeviceClock("cuda")
    rows, step = kept(target, here)
    if only != "norms" and not step.whole:
        step = step_times(clock)
        click.echo(f"training step: {asdict(step)}")
        write_result(target, record(here, rows, step))
    left = [planes for planes in PLANES if planes not in rows or rows[planes].failures]
    # what failed comes last, so that a way that stops the process stops it for itself alone
    for planes in sorted(left, key=lambda planes: planes in rows) if only != "step" else []:
        rows[planes] = measured(planes, clock)
        click.echo(line(rows[planes]))
        write_result(target, record(here, rows, step))
    for bar, reached in bars(rows.values(), step).items():
        click.echo(f"{VERDICTS[reached]:12} {bar}")


if __name__ == "__main__":
    main()
