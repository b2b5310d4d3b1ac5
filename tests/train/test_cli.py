"""The commands: options in and out, resumed options, and exit statuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from starcast.options import as_json, from_flat, from_json
from starcast.train.cli import dataset, train
from starcast.train.families.stargan_v2.options import StarGANv2Options

SMALL = {
    "image_size": 32, "channel_base": 64, "max_channels": 8, "style_dim": 4, "latent_dim": 3, "mapping_width": 8,
    "batch_size": 2, "workers": 0, "sample_every": 0, "snapshot_every": 0, "device": "cpu",
}  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(train, [str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


def test_a_dry_run_prints_options_that_config_reads_back(images, tmp_path):
    first = invoke(images, "-o", tmp_path / "run", "--dry-run", "--steps", 7, "--domains", "photo,ink", "--compile")
    (tmp_path / "options.json").write_text(first.output)
    second = invoke(images, "-o", tmp_path / "run", "--dry-run", "--config", tmp_path / "options.json")
    assert second.output == first.output
    options = from_json(StarGANv2Options, json.loads(first.output), "the output")
    assert options == from_flat(StarGANv2Options, {"steps": 7, "domains": ("photo", "ink"), "compile": True})
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_the_defaults_reads_back_too(images, tmp_path):
    first = invoke(images, "-o", tmp_path / "run", "--dry-run")
    (tmp_path / "options.json").write_text(first.output)
    assert (
        invoke(images, "-o", tmp_path / "run", "--dry-run", "--config", tmp_path / "options.json").output
        == first.output
    )
    assert json.loads(first.output) == as_json(StarGANv2Options())


def test_a_resumed_run_keeps_its_options_but_for_those_given(images, tmp_path, config):
    run = tmp_path / "run"
    assert invoke(images, "-o", run, "--config", config, "--steps", 1, "--seed", 5).return_value == 0
    resumed = invoke(images, "-o", run, "--resume", "--dry-run", "--steps", 2)
    assert json.loads(resumed.output) == as_json(from_flat(StarGANv2Options, {**SMALL, "seed": 5, "steps": 2}))
    assert invoke(images, "-o", run, "--resume", "--steps", 2).return_value == 0
    assert (run / "checkpoints/step-000002.pt").exists()


def test_help_loads_neither_torch_nor_pillow():
    code = """if True:
        import sys
        from click.testing import CliRunner
        from starcast.train.cli import dataset, plot, train
        for command, arguments in ((train, []), (plot, []), (dataset, ["check"]), (dataset, ["make"])):
            assert CliRunner().invoke(command, [*arguments, "--help"]).exit_code == 0
        assert not {"torch", "torchvision", "PIL", "numpy", "cv2", "matplotlib"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_interrupted_run_has_saved_and_ends_with_the_signals_status(images, tmp_path, config):
    run = tmp_path / "run"
    arguments = [
        "train",
        images,
        "-o",
        run,
        "--config",
        config,
        "--steps",
        "100000",
        "--log-every",
        "1",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "starcast", *map(str, arguments)], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        while not (run / "losses.jsonl").exists() or not (run / "losses.jsonl").stat().st_size:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()  # a run that goes on would slow down everything after it
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    assert len(list((run / "checkpoints").iterdir())) == 1


def test_a_made_data_set_passes_the_check(tmp_path):
    runner = CliRunner()
    made = runner.invoke(
        dataset,
        [
            "make",
            str(tmp_path / "set"),
            "--image-size",
            "32",
            "--train-images",
            "2",
            "--val-images",
            "1",
            "--video-seconds",
            "1",
        ],
        standalone_mode=False,
    )
    assert made.exception is None
    checked = runner.invoke(dataset, ["check", str(tmp_path / "set"), "--image-size", "32"], standalone_mode=False)
    assert checked.return_value == 0
