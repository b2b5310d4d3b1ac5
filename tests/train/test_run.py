"""The run: it resumes exactly, survives what goes wrong, and leaves a folder that explains itself."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from same_bits import assert_same_bits, tensors

from starcast.errors import CheckpointError, DatasetError, OptionError, TrainingError
from starcast.options import replace_options
from starcast.train import run as training_run
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.data import folders
from starcast.train.run import check_finite, train
from starcast.train.stopping import TrainingStopped

DATA = "2 domains: ink (4 images, 2 more held out), photo (7 images, 2 more held out)"


def run_quietly(images, run, options, **settings):
    said = []
    try:
        return train(images, run, options, bar=False, progress=said.append, **settings)
    finally:
        assert said in ([], [DATA])


@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_steps_equal_ten_and_ten_resumed_ones_bit_for_bit(images, tmp_path, small, workers):
    twenty = replace_options(small, steps=20, r1_every=3)
    ten = replace_options(twenty, steps=10, workers=workers)
    whole = run_quietly(images, tmp_path / "whole", twenty)
    run_quietly(images, tmp_path / "parts", ten)
    resumed = run_quietly(images, tmp_path / "parts", replace_options(ten, steps=20), resume=True)
    assert_same_bits(whole, resumed)
    assert (tmp_path / "whole/losses.jsonl").read_bytes() == (tmp_path / "parts/losses.jsonl").read_bytes()


def test_a_run_that_lands_on_the_cpu_by_itself_says_why_and_records_what_computed(images, tmp_path, small, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = []
    options = replace_options(small, steps=1, device="auto")
    train(images, tmp_path / "run", options, bar=False, progress=said.append)
    data, line = said
    assert data == DATA
    assert line.startswith("Training on the CPU, because ")
    [start] = json.loads((tmp_path / "run/run.json").read_text())["starts"]
    assert start["machine"] == "on the CPU in fp32, with norms by reference"
    assert start["versions"]["cuda"] == torch.version.cuda


def test_a_stopped_run_saves_says_how_to_go_on_and_resumes_exactly(images, tmp_path, small):
    def stop_at_two(done, _losses):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = run_quietly(images, tmp_path / "whole", small)
    with pytest.raises(TrainingStopped, match="Stopped after step 3.*--resume") as stopped:
        run_quietly(images, tmp_path / "parts", small, on_step=stop_at_two)
    assert stopped.value.status == 143
    assert (tmp_path / "parts/checkpoints/step-000003.pt").exists()
    assert_same_bits(whole, run_quietly(images, tmp_path / "parts", small, resume=True))


def test_signals_are_as_before_when_a_run_has_ended(images, tmp_path, small):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_quietly(images, tmp_path / "run", replace_options(small, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_checkpoints_rotate_and_snapshots_stay(images, tmp_path, small):
    options = replace_options(small, steps=6, save_every=1, snapshot_every=2, keep=2)
    run_quietly(images, tmp_path / "run", options)
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == [
        "step-000002.snapshot.pt",
        "step-000004.snapshot.pt",
        "step-000005.pt",
        "step-000006.pt",
        "step-000006.snapshot.pt",
    ]
    snapshot = read_checkpoint(tmp_path / "run/checkpoints/step-000004.snapshot.pt")
    assert (snapshot.step, snapshot.domain_names) == (4, ("ink", "photo"))
    assert (snapshot.networks, snapshot.optimizers) == (None, None)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(images, tmp_path, small):
    whole = run_quietly(images, tmp_path / "whole", small)
    parts = tmp_path / "parts"
    run_quietly(images, parts, replace_options(small, steps=2, save_every=1))
    (parts / "checkpoints/step-000002.pt").write_bytes(b"damaged")
    said = []
    resumed = train(images, parts, small, resume=True, bar=False, progress=said.append)
    assert "step-000002.pt" in said[0]
    assert said[1].endswith("step-000001.pt")
    assert_same_bits(whole, resumed)


def test_a_damaged_newer_checkpoint_does_not_push_out_a_whole_one(images, tmp_path, small):
    options = replace_options(small, steps=2, save_every=1, keep=1)
    run_quietly(images, tmp_path / "run", options)
    (tmp_path / "run/checkpoints/step-000009.pt").write_bytes(b"damaged")
    said = []
    options = replace_options(options, steps=3)
    last = train(images, tmp_path / "run", options, resume=True, bar=False, progress=said.append)
    assert "step-000009.pt" in said[0]
    assert read_checkpoint(last).step == 3
    assert not (tmp_path / "run/checkpoints/step-000002.pt").exists()


def test_nothing_to_resume_is_said(images, tmp_path, small):
    with pytest.raises(CheckpointError, match="no full checkpoint to resume from: start the run without --resume"):
        run_quietly(images, tmp_path / "run", small, resume=True)


def test_a_run_is_not_written_over_another(images, tmp_path, small):
    run_quietly(images, tmp_path / "run", replace_options(small, steps=1))
    with pytest.raises(OptionError, match="already holds a run: choose another -o, or continue it with --resume"):
        run_quietly(images, tmp_path / "run", small)


def test_a_resumed_run_refuses_other_shapes_and_other_domains(images, tmp_path, small):
    run_quietly(images, tmp_path / "run", replace_options(small, steps=1))
    with pytest.raises(OptionError, match="--style-dim is 5, but .* was trained with 4"):
        run_quietly(images, tmp_path / "run", replace_options(small, style_dim=5), resume=True)
    (images / "photo").rename(images / "sketch")
    with pytest.raises(DatasetError, match="has the domains ink, sketch, but .* was trained on ink, photo"):
        run_quietly(images, tmp_path / "run", small, resume=True)


def test_a_resumed_run_says_that_files_have_changed_and_takes_new_rates(images, tmp_path, small):
    run_quietly(images, tmp_path / "run", replace_options(small, steps=1))
    (images / "photo/train/0.png").unlink()
    said = []
    options = replace_options(small, steps=2, learning_rate=5e-4)
    last = train(images, tmp_path / "run", options, resume=True, bar=False, progress=said.append)
    assert [sentence.partition(": ")[0] for sentence in said] == [
        f"{images} holds other files than before",
        "2 domains",
    ]
    groups = read_checkpoint(last).optimizers["generator"]["param_groups"]
    assert [group["lr"] for group in groups] == [5e-4]


def test_a_finished_run_is_not_resumed_without_more_steps(images, tmp_path, small):
    last = run_quietly(images, tmp_path / "run", replace_options(small, steps=1))
    said = []
    options = replace_options(small, steps=1)
    assert train(images, tmp_path / "run", options, resume=True, bar=False, progress=said.append) == last
    assert said == [f"{last} is already at step 1: give more --steps to continue"]


def test_losses_that_are_not_finite_end_the_run_with_what_to_try(images, tmp_path, small):
    options = replace_options(small, steps=30, learning_rate=1e30, save_every=1)
    with pytest.raises(TrainingError, match=r"training failed at step \d+ .*--learning-rate"):
        run_quietly(images, tmp_path / "run", options)
    for path in (tmp_path / "run/checkpoints").glob("*.pt"):
        for place, leaf in tensors(read_checkpoint(path).networks).items():
            assert torch.isfinite(leaf).all(), place


def test_finite_losses_pass():
    assert check_finite({"G/ref_adv": 1.0}, 3, lambda: "start anew") == {"G/ref_adv": 1.0}
    with pytest.raises(TrainingError, match=r"step 3 \(G/ref_adv is nan\): start anew"):
        check_finite({"G/ref_adv": float("nan")}, 3, lambda: "start anew")


def test_a_full_disk_is_one_sentence_and_the_old_checkpoint_is_whole(images, tmp_path, small, monkeypatch):
    write = training_run.write_checkpoint

    def full_from_the_second_on(path, **contents):
        if path.name != "step-000001.pt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, **contents)

    monkeypatch.setattr(training_run, "write_checkpoint", full_from_the_second_on)
    with pytest.raises(TrainingError, match=r"step-000002\.pt cannot be written \(no space left on device\)"):
        run_quietly(images, tmp_path / "run", replace_options(small, save_every=1, keep=1))
    assert read_checkpoint(tmp_path / "run/checkpoints/step-000001.pt").step == 1


def test_the_folder_explains_itself(images, tmp_path, small):
    options = replace_options(small, steps=2, sample_every=1)
    run_quietly(images, tmp_path / "run", options)
    run_quietly(images, tmp_path / "run", replace_options(options, steps=3), resume=True)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["data_set"]["name"] == "images"
    assert record["data_set"]["domains"] == ["ink", "photo"]
    assert (record["data_set"]["training"], record["data_set"]["held_out"]) == ([4, 7], [2, 2])
    assert [(start["step"], start["options"]["steps"]) for start in record["starts"]] == [(0, 2), (2, 3)]
    assert record["starts"][0]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == [
        f"step-00000{step}-{kind}.jpg" for step in (1, 2, 3) for kind in ("latent", "reference")
    ]
    assert [json.loads(line)["step"] for line in (tmp_path / "run/losses.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_every_step_is_passed_on_when_it_is_done(images, tmp_path, small):
    told = []
    options = replace_options(small, log_every=2)
    run_quietly(
        images, tmp_path / "run", options, on_step=lambda done, losses: told.append((done, "G/ref_cyc" in losses))
    )
    assert told == [(1, False), (2, True), (3, True), (4, True)]


def test_accumulated_parts_give_the_same_step_but_for_rounding(images, tmp_path, small):
    once = run_quietly(images, tmp_path / "once", replace_options(small, steps=1, learning_rate=1e-4))
    parts = run_quietly(images, tmp_path / "parts", replace_options(small, steps=1, learning_rate=1e-4, accumulate=3))
    lines = [json.loads((path.parent.parent / "losses.jsonl").read_text()) for path in (once, parts)]
    assert lines[0] == pytest.approx(lines[1], rel=1e-3)


def test_epochs_are_steps_over_the_training_images_and_a_resumed_run_counts_on(images, tmp_path, small):
    said = []
    options = replace_options(small, epochs=1.5)  # of 11 images in batches of 3: 5.5 steps
    last = train(images, tmp_path / "run", options, bar=False, progress=said.append)
    assert said == ["1.5 epochs of 11 images are 6 steps", DATA]
    assert (read_checkpoint(last).step, read_checkpoint(last).options["steps"]) == (6, 6)
    again = run_quietly(images, tmp_path / "run", replace_options(small, steps=7), resume=True)
    assert_same_bits(again, run_quietly(images, tmp_path / "whole", replace_options(small, steps=7)))


def test_the_files_of_a_data_set_are_hashed_once_a_run(images, tmp_path, small, monkeypatch):
    hashed = []
    counting = SimpleNamespace(sha256=lambda: hashed.append(1) or hashlib.sha256())
    monkeypatch.setattr(folders, "hashlib", counting)
    run_quietly(images, tmp_path / "run", replace_options(small, steps=4, save_every=1, snapshot_every=2))
    assert len(hashed) == 1
