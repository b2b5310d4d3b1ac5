"""`train --wandb`: what is logged, offline too, under one id; and that no failure of it ends a training."""

from __future__ import annotations

import json

import pytest
import wandb
from short_runs import run_quietly

from starcast.options import replace_options
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.log import read_logged_losses
from starcast.train.run import train
from starcast.train.wandb_run import WandbRun


class FakeRun:
    """A fake W&B run. The methods named in `fails` raise."""

    def __init__(self, *, fails=()):
        self.fails, self.logged, self.finished = fails, [], False
        self.settings = type("Settings", (), {"_offline": True, "sync_dir": "wandb/offline-run"})

    def define_metric(self, *_names, **_settings):
        pass

    def log(self, values):
        if "log" in self.fails:
            raise wandb.errors.CommError("the network is down")
        self.logged.append(values)

    def finish(self):
        if "finish" in self.fails:
            raise RuntimeError("the service died")
        self.finished = True


@pytest.fixture
def started(monkeypatch):
    """What `wandb.init` was asked for, and the runs that it gave."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked, runs = [], []

    def init(**settings):
        asked.append(settings)
        runs.append(FakeRun(fails=started_fails))
        return runs[-1]

    started_fails = []
    monkeypatch.setattr(wandb, "init", init)
    return asked, runs, started_fails


def options_of(small: StarGANv2Options, **changes) -> StarGANv2Options:
    return replace_options(small, wandb="animals", sample_every=2, **changes)


def test_losses_grids_and_options_are_logged_with_their_steps(images, tmp_path, small, started):
    asked, runs, _ = started
    run_quietly(images, tmp_path / "run", options_of(small))
    assert asked[0]["project"] == "animals"
    assert asked[0]["config"]["image_size"] == 32
    losses = [values for values in runs[0].logged if "G/latent_adv" in values]
    assert [values["step"] for values in losses] == [1, 2, 3, 4]
    logged = read_logged_losses(tmp_path / "run" / "losses.jsonl")
    assert [values["G/latent_adv"] for values in losses] == [line["G/latent_adv"] for line in logged]
    grids = [(name, values["step"]) for values in runs[0].logged for name in values if name.startswith("samples/")]
    assert grids == [(f"samples/{kind}", step) for step in (2, 4) for kind in ("reference", "latent")]
    assert runs[0].finished


def test_a_resumed_run_continues_under_the_same_id(images, tmp_path, small, started):
    run_quietly(images, tmp_path / "run", options_of(small))
    run_quietly(images, tmp_path / "run", options_of(small, steps=5), resume=True)
    first, second = (settings["id"] for settings in started[0])
    assert first == second == json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    assert [settings["resume"] for settings in started[0]] == ["allow", "allow"]
    run_quietly(images, tmp_path / "other", options_of(small))
    assert started[0][-1]["id"] != first


@pytest.mark.parametrize("place", ["log", "finish"])
def test_a_failing_logger_never_ends_a_run_and_a_line_says_so_once(images, tmp_path, small, started, place):
    started[2].append(place)
    lines = []
    train(images, tmp_path / "run", options_of(small), bar=False, progress=lines.append)
    assert (tmp_path / "run" / "checkpoints" / "step-000004.pt").exists()
    assert len([line for line in lines if "goes on without it" in line]) == 1


def test_a_logger_that_cannot_start_never_ends_a_run(images, tmp_path, small, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb, "init", lambda **_: (_ for _ in ()).throw(OSError("no space")))
    lines = []
    train(images, tmp_path / "run", options_of(small), bar=False, progress=lines.append)
    assert any("cannot be started (no space)" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "reason"), [("", "not logged in"), ("x" * 40, "cannot be reached")], ids=["no key", "no network"]
)
def test_without_a_network_or_a_key_it_is_logged_in_the_runs_folder(tmp_path, monkeypatch, key, reason):
    asked = []
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb, "init", lambda **settings: asked.append(settings) or FakeRun())
    lines = []
    WandbRun(tmp_path, "animals", {}, lines.append).close()
    assert asked[0]["mode"] == "offline"
    assert reason in lines[0]
    assert "wandb sync" in lines[-1]


def test_a_server_that_refuses_is_left_for_the_runs_folder(tmp_path, monkeypatch):
    modes = []

    def init(mode, **_):
        modes.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("401: invalid key")
        return FakeRun()

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", init)
    lines = []
    WandbRun(tmp_path, "animals", {}, lines.append).close()
    assert modes == ["online", "offline"]
    assert "401: invalid key" in lines[0]


def test_a_release_without_these_settings_never_ends_a_run(tmp_path, monkeypatch):
    class Bare(FakeRun):
        settings = property(lambda self: (_ for _ in ()).throw(AttributeError("no settings")), lambda self, _: None)

    run, lines = Bare(), []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    WandbRun(tmp_path, "animals", {}, lines.append).close()
    assert run.finished
    assert lines[-1].endswith(f"wandb sync {tmp_path / 'wandb' / 'latest-run'}")


def test_the_real_package_writes_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    lines = []
    run = WandbRun(tmp_path, "animals", {"image_size": 32}, lines.append)
    run.scalars(1, {"G/latent_adv": 0.5})
    run.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb")), lines
    assert "wandb sync" in lines[-1]
