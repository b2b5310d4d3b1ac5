"""A run that was begun before options were nested goes on as it would have then.

`format-1/` has its checkpoint after two steps, and the losses of the four steps that the same version took.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from starcast.options import to_flat
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.log import read_logged_losses
from starcast.train.run import continue_run
from starcast.train.run_folder import RunFolder
from starcast.train.state import options_of, resumed_options, start_at

FORMAT_1 = Path(__file__).parent / "format-1"


def test_its_options_arrive_in_their_groups():
    checkpoint = read_checkpoint(FORMAT_1 / "step-000002.pt")
    options = options_of(checkpoint)
    assert checkpoint.family == options.family == "stargan_v2"
    newer = {
        "epochs": None,
        "images": None,
        "high_pass": 0.0,
        "landmarks": None,
        "wandb": None,
    }  # options that came after it have their defaults
    assert json.loads(json.dumps(to_flat(options))) == {**checkpoint.options, **newer}
    assert (options.loss.lambda_sty, options.loss.r1_every, options.optimizer.learning_rate) == (0.5, 2, 1e-3)
    assert (options.data.domains, options.course.accumulate) == (("photo", "ink"), 2)


def test_its_next_steps_have_the_losses_of_the_version_that_wrote_it(images, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    for name, folder in (("step-000002.pt", run.checkpoints), ("losses.jsonl", run.path)):
        shutil.copy(FORMAT_1 / name, folder)
    start = start_at(read_checkpoint(run.checkpoint(2)))
    options = resumed_options(start, "stargan_v2", {"steps": 4})
    said = []
    continue_run(images, run.path, options, start, bar=False, progress=said.append)
    assert said == ["2 domains: photo (7 images, 2 more held out), ink (4 images, 2 more held out)"]
    for found, wanted in zip(
        read_logged_losses(run.losses), read_logged_losses(FORMAT_1 / "losses.jsonl"), strict=True
    ):
        assert found == pytest.approx(wanted, rel=1e-4)  # the same bits on the CPU that wrote them
