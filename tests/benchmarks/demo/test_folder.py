"""A demo never touches what it has not written; --fresh deletes only what an earlier demo left."""

from __future__ import annotations

import signal

import pytest
import torch

from starcast.benchmarks.demo import run as demo
from starcast.benchmarks.demo.folder import MARK, PARTS, claim, start_over
from starcast.benchmarks.options import DemoOptions
from starcast.cli import main
from starcast.errors import OptionError
from starcast.train.stopping import TrainingStopped


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["run/checkpoints/step-000002.pt", "data/mine.txt", "report.html", "notes.txt"])
def test_a_folder_that_holds_anything_of_the_users_is_refused_and_left_as_it_was(tmp_path, name, fresh):
    mine = tmp_path / "work" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"days of work")
    with pytest.raises(OptionError, match="choose a new folder"):
        demo.run_demo(DemoOptions(output=tmp_path / "work", fresh=fresh))
    assert contents(tmp_path / "work") == {mine.relative_to(tmp_path / "work"): b"days of work"}


def test_a_mark_that_another_program_wrote_is_no_mark(tmp_path):
    (tmp_path / MARK).write_text('{"made by": "a camera"}')
    with pytest.raises(OptionError, match="no demo has written"):
        claim(tmp_path)
    assert (tmp_path / MARK).read_text() == '{"made by": "a camera"}'


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(OptionError, match="choose another -o"):
        demo.run_demo(DemoOptions(output=tmp_path / "demo"))


def test_fresh_deletes_what_a_demo_left_and_nothing_else(tmp_path):
    out, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.pt").write_bytes(b"1")
    claim(out)
    for part in PARTS[:-1]:
        (out / part).mkdir()
        (out / part / "file").touch()
    (out / PARTS[-1]).symlink_to(elsewhere, target_is_directory=True)
    (out / "notes.txt").write_text("mine")
    claim(out)  # as a second start does
    start_over(out)
    assert sorted(path.name for path in out.iterdir()) == [MARK, "notes.txt"]
    assert (elsewhere / "precious.pt").read_bytes() == b"1"


def test_a_run_with_other_options_is_refused_and_kept(tmp_path, monkeypatch):
    out = tmp_path / "demo"
    claim(out)
    run = out / "run"
    monkeypatch.setattr(demo, "_draw", lambda *_: out / "data")

    def find_start(*_):
        return type("Start", (), {"options": demo.training_options(DemoOptions(steps=5000))})

    monkeypatch.setattr(demo, "find_start", find_start)
    (run / "checkpoints").mkdir(parents=True)
    torch.save({}, run / "checkpoints" / "step-005000.pt")
    before = contents(out)
    with pytest.raises(OptionError, match="--fresh"):
        demo.run_demo(DemoOptions(output=out))
    assert contents(out) == before


def test_a_demo_that_is_stopped_while_it_trains_says_how_to_continue(tmp_path, monkeypatch, capsys):
    def stop(_options):
        raise TrainingStopped("saved", signal.SIGTERM)

    monkeypatch.setattr(demo, "run_demo", stop)
    with pytest.raises(SystemExit) as left:
        main(["demo", "-o", str(tmp_path / "demo")])
    assert left.value.code == 128 + signal.SIGTERM
    assert "same command again" in capsys.readouterr().err
