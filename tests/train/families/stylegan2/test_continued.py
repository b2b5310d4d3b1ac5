"""Runs of the two original programs continue here, or lend their weights; NVlabs' pickles are refused with the way."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from stylegan2_oracles import ROSINALITY, load, lukau2357_model, numbers

from starcast.cli import root
from starcast.errors import CheckpointError, OptionError
from starcast.train.checkpoint.file import averaged_networks, hash_of, read_checkpoint
from starcast.train.checkpoint.folder import choose_checkpoint

SHORT = (
    "--family", "stylegan2", "--batch", 4, "--workers", 0, "--device", "cpu", "--sample-every", 0, "--log-every", 1,
    "--snapshot-every", 0,
)  # fmt: skip
SHARED = Path(__file__).resolve().parents[5] / "shared" / "oracles"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draws = np.random.RandomState(0)
    (tmp_path / "images").mkdir()
    for number in range(5):
        pixels = draws.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
    return tmp_path / "images"


def starcast(*arguments: Any) -> Result:
    return CliRunner().invoke(root, [str(argument) for argument in arguments], standalone_mode=False)


def with_moments(place: Path, program: str) -> Path:
    """The original's checkpoint with a state of Adam that says 7 steps."""
    if program == "rosinality":
        content = load(ROSINALITY / "000000.pt")
        for network, optimizer in (("g", "g_optim"), ("d", "d_optim")):
            values = [v for k, v in content[network].items() if "kernel" not in k and "noises" not in k]
            content[optimizer]["state"] = _state(values)
        torch.save(content, place / "000005.pt")
        return place / "000005.pt"
    model = lukau2357_model(place / "model")
    for name in ("MN", "G", "D"):
        optimizer = load(model / f"checkpoint_2/{name}_optimizer.pth")
        values = list(load(model / f"checkpoint_2/{name}.pth")["state_dict"].values())
        torch.save({**optimizer, "state": _state(values)}, model / f"checkpoint_2/{name}_optimizer.pth")
    return model


def _state(values: list[torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    return {
        number: {"step": torch.tensor(7.0), "exp_avg": torch.zeros_like(v), "exp_avg_sq": torch.ones_like(v)}
        for number, v in enumerate(values)
    }


@pytest.mark.parametrize(("program", "step"), [("rosinality", 5), ("lukau2357", 2)])
def test_a_run_continues_with_steps_optimisers_and_settings(
    images: Path, tmp_path: Path, program: str, step: int
) -> None:
    original = with_moments(tmp_path, program)
    run = tmp_path / "run"
    more = ("--steps", step + 1, "--penalty-weight", 0, "--path-weight", 0)
    result = starcast("train", images, "-o", run, *SHORT, *more, "--from", original, "--resume")
    assert (result.exception, result.return_value) == (None, 0)
    checkpoint = read_checkpoint(run / f"checkpoints/step-{step + 1:06d}.pt")
    assert checkpoint.optimizers is not None
    for optimizer in checkpoint.optimizers.values():
        assert {float(moments["step"]) for moments in optimizer["state"].values()} == {8.0}
    settings = checkpoint.options or {}
    assert (settings["style_mixing"], settings["learning_rate"]) == (0.9, 0.002)
    assert settings["resampling"] == ("transposed" if program == "rosinality" else "bilinear")
    record = json.loads((run / "run.json").read_text())["starts"][-1]
    assert record["step"] == step
    again = starcast("train", images, "-o", run, "--resume", "--family", "stylegan2", "--steps", step + 2)
    assert (again.exception, again.return_value) == (None, 0)
    refused = starcast("train", images, "-o", run, *SHORT, "--from", original, "--resume")
    assert isinstance(refused.exception, OptionError)
    assert "already holds a run: choose another -o, or continue it with --resume alone" in str(refused.exception)


def test_weights_alone_cannot_be_continued(images: Path, tmp_path: Path) -> None:
    content = {"g_ema": load(ROSINALITY / "000000.pt")["g_ema"], "latent_avg": numbers(ROSINALITY)["latent_avg"]}
    torch.save(content, tmp_path / "converted.pt")
    result = starcast("train", images, "-o", tmp_path / "run", *SHORT, "--from", tmp_path / "converted.pt", "--resume")
    assert isinstance(result.exception, CheckpointError)
    assert "has no optimizers, so its run cannot be continued: leave --resume out" in str(result.exception)
    started = starcast(
        "train", images, "-o", tmp_path / "run", *SHORT, "--from", tmp_path / "converted.pt", "--steps", 1
    )  # fmt: skip
    assert (started.exception, started.return_value) == (None, 0)
    assert "Fresh, because that checkpoint has none: discriminator" in started.output


@pytest.mark.parametrize("program", ["rosinality", "lukau2357"])
def test_a_new_run_starts_from_the_originals_weights(images: Path, tmp_path: Path, program: str) -> None:
    original = with_moments(tmp_path, program)
    result = starcast(
        "train", images, "-o", tmp_path / "run", *SHORT, "--from", original, "--steps", 1, "--learning-rate", 0,
        "--average-decay", 1,
    )  # fmt: skip
    assert (result.exception, result.return_value) == (None, 0)
    before = read_checkpoint(choose_checkpoint(original).path)
    after = read_checkpoint(tmp_path / "run/checkpoints/step-000001.pt")
    assert after.networks is not None
    assert before.networks is not None
    for name in ("mapping_network", "generator"):
        for key, value in before.averaged[name].items():
            assert torch.equal(after.averaged[name][key], value), key
    for key, value in before.networks["discriminator"].items():
        assert torch.equal(after.networks["discriminator"][key], value), key


def test_a_folder_is_read_and_hashed_as_one_checkpoint(tmp_path: Path) -> None:
    model = lukau2357_model(tmp_path / "model")
    chosen = choose_checkpoint(model)
    assert chosen.path == model / "checkpoint_2"
    checkpoint = read_checkpoint(chosen.path)
    assert averaged_networks(checkpoint).generator(torch.zeros(1, 8, 32)).shape == (1, 3, 32, 32)
    before = hash_of(chosen.path)
    path = chosen.path / "G_plr.pth"
    torch.save({"a": torch.tensor(0.5)}, path)
    assert hash_of(chosen.path) != before
    path.write_bytes(b"not torch's")
    with pytest.raises(CheckpointError, match="G_plr.pth is a text file"):
        read_checkpoint(chosen.path)


def test_arguments_of_a_training_run_nothing(tmp_path: Path) -> None:
    """argparse.Namespace is allowed by name; whatever else stands in it is refused."""

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "proof"), "w"))

    content = load(ROSINALITY / "000000.pt")
    content["args"].size = Runs()
    torch.save(content, tmp_path / "000001.pt")
    with pytest.raises(CheckpointError, match="holds Python objects, and reading them would run code"):
        read_checkpoint(tmp_path / "000001.pt")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("module", "says"), [("torch_utils.persistence", "StyleGAN2-ADA"), ("dnnlib.tflib.network", "TensorFlow")]
)
def test_a_pickle_of_nvlabs_is_refused_with_the_way(tmp_path: Path, module: str, says: str) -> None:
    names = module.split(".")
    made = {".".join(names[: count + 1]): types.ModuleType(".".join(names[: count + 1])) for count in range(len(names))}
    network = type("Network", (), {"__module__": module})
    made[module].Network = network  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.items():
            patch.setitem(sys.modules, name, value)
        for protocol in (2, 4):
            (tmp_path / f"{protocol}.pkl").write_bytes(pickle.dumps({"G_ema": network()}, protocol))
    for protocol in (2, 4):
        with pytest.raises(CheckpointError, match=says) as refusal:
            read_checkpoint(tmp_path / f"{protocol}.pkl")
        assert "convert it to rosinality's layout (a .pt with g_ema and latent_avg)" in str(refusal.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the originals' whole files are not beside the checkout")
@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("stylegan2_lukau", 2),
        ("stylegan2_rosinality/000000.pt", 0),
        ("stylegan2_rosinality/stylegan2-converted.pt", None),
    ],
)
def test_whole_files_of_the_originals_load(path: str, step: int | None) -> None:
    checkpoint = read_checkpoint(choose_checkpoint(SHARED / path).path)
    assert (checkpoint.family, checkpoint.step) == ("stylegan2", step)
    inspected = starcast("inspect", SHARED / path)
    assert inspected.exception is None
