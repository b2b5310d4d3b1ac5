"""What ends a run before its last step, what it leaves, and how the next start goes on from there."""

from __future__ import annotations

import errno
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_bits import assert_same_bits
from short_runs import Killed, kill_after, run_quietly
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from starcast import signals
from starcast.errors import CheckpointError, DatasetError, ImageError, OptionError, TrainingError
from starcast.hold import hold_folder
from starcast.leftovers import PARTIAL
from starcast.options import replace_options
from starcast.train import run as training_run
from starcast.train.checkpoint.file import read_checkpoint
from starcast.train.data import batches
from starcast.train.run import train
from starcast.train.stopping import StopRequest, TrainingStopped, record_signals
from starcast.train.terminal import SteadyStream

TINY = (
    *("--image-size", "32", "--channel-base", "64", "--max-channels", "8", "--style-dim", "4", "--latent-dim", "3"),
    *("--mapping-width", "8", "--batch-size", "2", "--workers", "1", "--sample-every", "0", "--snapshot-every", "0"),
    *("--log-every", "1", "--device", "cpu"),
)


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGQUIT", "SIGPWR"])
def test_a_run_saves_on_every_signal_that_would_kill_it(images, tmp_path, small, name):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here")

    def send_at_two(done, _losses):
        if done == 2:
            os.kill(os.getpid(), number)

    with signals.stop_on_signals():  # as every command runs
        before = signal.getsignal(number)
        with pytest.raises(TrainingStopped, match="Stopped after step 3.*--resume") as stopped:
            run_quietly(images, tmp_path / "run", small, on_step=send_at_two)
        assert signal.getsignal(number) == before
    assert stopped.value.status == 128 + number
    assert read_checkpoint(tmp_path / "run/checkpoints/step-000003.pt").step == 3


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGUSR1", "SIGALRM"])
def test_what_a_process_was_told_to_ignore_stays_ignored(name):
    number, request = getattr(signal, name, None), StopRequest()
    if number is None:
        pytest.skip(f"this system has no {name}")
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with record_signals(request):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert not request.is_made()


def test_a_second_signal_from_the_keyboard_interrupts_at_once():
    request = StopRequest()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with record_signals(request):
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert request.signal == signal.SIGINT


def test_the_first_signal_decides_the_exit_status():
    request = StopRequest()
    with record_signals(request):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
    assert request.signal == signal.SIGTERM


def test_progress_that_cannot_be_shown_does_not_end_a_run():
    class Gone:
        def write(self, text):
            raise OSError(errno.EIO, "the terminal is gone")

        def flush(self):
            raise BrokenPipeError

    stream = SteadyStream(Gone())
    assert stream.write("half") == 4
    stream.flush()
    assert stream == SteadyStream(stream.stream)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals of this kind here")
def test_a_terminal_that_closes_leaves_a_checkpoint(images, tmp_path):
    import pty

    process, terminal = pty.fork()
    if not process:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        arguments = ["-m", "starcast", "train", str(images), "-o", str(tmp_path / "run"), *TINY, "--steps", "100000"]
        os.execv(sys.executable, [sys.executable, *arguments])
    losses = tmp_path / "run/losses.jsonl"
    while not losses.exists() or not losses.stat().st_size:
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 9999)  # it must not block the run
    os.close(terminal)  # the kernel sends SIGHUP, and every write to the terminal fails from now on
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    [checkpoint] = (tmp_path / "run/checkpoints").iterdir()
    assert read_checkpoint(checkpoint).networks is not None


# Killed at a bad moment


def test_killed_before_its_first_checkpoint_a_run_begins_again_with_the_same_bits(images, tmp_path, small):
    options = replace_options(small, snapshot_every=2, save_every=100, seed=9)
    whole = run_quietly(images, tmp_path / "whole", options)
    with pytest.raises(Killed):
        run_quietly(images, tmp_path / "run", options, on_step=kill_after(3))
    with pytest.raises(OptionError, match="already holds a run: choose another -o, or continue it with --resume"):
        run_quietly(images, tmp_path / "run", options)
    said = []
    resumed = train(images, tmp_path / "run", options, resume=True, bar=False, progress=said.append)
    assert said[0] == f"{tmp_path / 'run'} has no full checkpoint yet: the run starts again from the beginning"
    assert_same_bits(whole, resumed)
    assert (tmp_path / "whole/losses.jsonl").read_bytes() == (tmp_path / "run/losses.jsonl").read_bytes()
    [start] = json.loads((tmp_path / "run/run.json").read_text())["starts"]
    assert (start["step"], start["options"]["seed"]) == (0, 9)


def test_a_run_killed_before_it_wrote_anything_but_its_record_can_be_resumed_or_started(images, tmp_path, small):
    for resume in (True, False):
        with pytest.raises(Killed):
            run_quietly(images, tmp_path / f"{resume}", small, on_step=kill_after(1))
        assert run_quietly(images, tmp_path / f"{resume}", small, resume=resume).exists()


def test_a_long_run_whose_checkpoints_were_moved_away_is_not_begun_again(images, tmp_path, small):
    run = tmp_path / "run"
    run_quietly(images, run, replace_options(small, snapshot_every=2, save_every=1))
    for path in (run / "checkpoints").glob("step-??????.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="has no full checkpoint to resume from: start a new run with another -o"):
        run_quietly(images, run, small, resume=True)
    assert len((run / "losses.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("resume", [False, True])
def test_the_record_of_a_run_whose_checkpoints_were_all_moved_away_stays(images, tmp_path, small, resume):
    run = tmp_path / "run"
    run_quietly(images, run, replace_options(small, save_every=1))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises((OptionError, CheckpointError), match="another -o"):
        run_quietly(images, run, small, resume=resume)
    assert len((run / "losses.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("steps", [2, 3])
def test_a_checkpoint_too_many_is_discarded_at_the_next_start(images, tmp_path, small, steps):
    run, options = tmp_path / "run", replace_options(small, steps=2, save_every=1, keep=1)
    run_quietly(images, run, options)
    shutil.copy(run / "checkpoints/step-000002.pt", run / "checkpoints/step-000001.pt")  # killed before it was deleted
    run_quietly(images, run, replace_options(options, steps=steps), resume=True)
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-00000{steps}.pt"]


def test_what_a_dead_process_left_half_written_is_removed(images, tmp_path, small):
    run, options = tmp_path / "run", replace_options(small, steps=1)
    run_quietly(images, run, options)
    (run / "samples").mkdir()
    for place in (run, run / "checkpoints", run / "samples"):
        (place / f"{PARTIAL}abcdefgh-step-000001.pt").write_bytes(b"half")
    run_quietly(images, run, replace_options(options, steps=2), resume=True)
    assert not list(run.rglob(f"{PARTIAL}*"))


@pytest.mark.parametrize(("resume", "start"), [(True, 2), (False, 0)])
def test_tensorboard_shows_every_step_once(images, tmp_path, small, resume, start):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_quietly(images, run, replace_options(small, save_every=2 if resume else 100), on_step=kill_after(3))
    run_quietly(images, run, small, resume=resume)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("G/latent_adv")] == [1, 2, 3, 4]
    assert json.loads((run / "run.json").read_text())["starts"][-1]["step"] == start


# Two at once, and files of the user


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_one_goes_on(images, tmp_path, small):
    run = tmp_path / "run"
    run_quietly(images, run, replace_options(small, steps=1, save_every=1))
    partial = run / "checkpoints" / f"{PARTIAL}abcdefgh-step-000002.pt"
    code = f"""if True:
        import sys
        from pathlib import Path
        from starcast.hold import hold_folder
        with hold_folder(Path({str(run)!r})):
            print("held", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        partial.write_bytes(b"half")
        for resume in (False, True):
            with pytest.raises(OptionError, match=rf"is being written by another starcast \(process {holder.pid}\)"):
                run_quietly(images, run, small, resume=resume)
        assert partial.exists()
        holder.communicate("")
    run_quietly(images, run, small, resume=True)
    assert not partial.exists()


def test_a_run_holds_its_folder_until_it_ends(images, tmp_path, small):
    run, refused = tmp_path / "run", []

    def try_to_hold(done, _losses):
        code = f"from pathlib import Path; from starcast.hold import *\nwith hold_folder(Path({str(run)!r})): pass"
        refused.append(subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode)

    run_quietly(images, run, replace_options(small, steps=1), on_step=try_to_hold)
    assert refused == [1]
    with hold_folder(run):
        pass


FOREIGN = {
    "run.json": ['{"geoData": 1}', "[1]", "no JSON", '{"starts": []}'],
    "losses.jsonl": ['{"step": 1, "loss": 0.5}\n', "a diary\n"],
    "samples/step-000100-latent.jpg": ["an image"],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in FOREIGN.items() for text in texts])
def test_a_file_that_no_run_wrote_is_never_overwritten(images, tmp_path, small, name, content):
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(OptionError, match=rf"{name} is in the way \(a file .*\): move it away, or choose another -o$"):
        run_quietly(images, tmp_path / "run", small)
    assert file.read_text() == content
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["run.json", "losses.jsonl"])
def test_what_replaced_a_file_of_the_run_is_not_overwritten(images, tmp_path, small, name, resume):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_quietly(images, run, replace_options(small, save_every=1 if resume else 100), on_step=kill_after(2))
    (run / name).write_text("mine\n")
    with pytest.raises(OptionError, match=rf"{name} is in the way \(a file that no run wrote\)"):
        run_quietly(images, run, small, resume=resume)
    assert (run / name).read_text() == "mine\n"


@pytest.mark.parametrize("name", ["checkpoints", "samples", "tensorboard"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_the_work(images, tmp_path, small, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(OptionError, match=rf"{name} is in the way \(a file\)"):
        run_quietly(images, tmp_path / "run", small)


@pytest.mark.parametrize("name", [".", "run"])
def test_a_run_among_the_images_is_refused_before_the_work_because_it_would_become_a_domain(images, small, name):
    before = sorted(images.rglob("*"))
    with pytest.raises(OptionError, match="lies in the data set, where each folder is a domain"):
        run_quietly(images, images / name, small)
    assert sorted(images.rglob("*")) == before


def test_a_run_into_a_bundle_is_refused_before_the_work(images, tmp_path, small):
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "manifest.json").write_text("{}")
    with pytest.raises(OptionError, match="my-model is a bundle: give another folder for the run"):
        run_quietly(images, tmp_path / "my-model", small)
    assert [path.name for path in (tmp_path / "my-model").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("name", ["run.json", "losses.jsonl"])
def test_a_folder_or_a_link_in_the_place_of_a_file_is_refused_before_the_work(images, tmp_path, small, name):
    place = tmp_path / "run" / name
    place.mkdir(parents=True)
    with pytest.raises(OptionError, match=rf"{name} is in the way \(a folder\)"):
        run_quietly(images, tmp_path / "run", small)
    place.rmdir()
    place.symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(OptionError, match=rf"{name} is in the way \(a link that leads nowhere\)"):
        run_quietly(images, tmp_path / "run", small)


# Machines that fail


def test_a_full_disk_before_the_first_checkpoint_promises_none(images, tmp_path, small, monkeypatch):
    def full(path, **_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(training_run, "write_checkpoint", full)
    with pytest.raises(TrainingError) as caught:
        run_quietly(images, tmp_path / "run", small)
    sentence = str(caught.value)
    assert "there is no checkpoint yet: fix this, then start from the beginning with starcast train" in sentence
    assert "are whole" not in sentence


def test_images_that_cannot_be_read_any_more_end_the_run_after_it_has_saved(images, tmp_path, small, monkeypatch):
    read = batches.read_image
    whole = run_quietly(images, tmp_path / "whole", small)

    def unplug(done, _losses):
        if done == 2:
            monkeypatch.setattr(batches, "read_image", fail)

    def fail(path):
        raise ImageError(f"{path} does not exist")

    options = replace_options(small, cache_mb=0)
    with pytest.raises(DatasetError, match="none of the .* can be read.*; step 2 is saved: continue with `starcast"):
        run_quietly(images, tmp_path / "run", options, on_step=unplug)
    monkeypatch.setattr(batches, "read_image", read)
    resumed = run_quietly(images, tmp_path / "run", replace_options(options, cache_mb=1024), resume=True)
    assert_same_bits(whole, resumed)


def test_a_log_that_cannot_be_written_costs_no_step(images, tmp_path, small, monkeypatch):
    def full(self, step, losses):
        if step == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "losses.jsonl")

    monkeypatch.setattr("starcast.train.log.LossLog.losses", full)
    with pytest.raises(TrainingError, match=r"losses\.jsonl cannot be written .*the checkpoints of .* are whole"):
        run_quietly(images, tmp_path / "run", small)
    assert read_checkpoint(tmp_path / "run/checkpoints/step-000003.pt").step == 3


def _can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    return not subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode


@pytest.mark.skipif(not _can_mount(), reason="no file systems can be mounted here")
def test_workers_need_no_shared_memory_and_few_open_files(images, tmp_path):
    run, setting = tmp_path / "run", "mount -t tmpfs -o size=64k tmpfs /dev/shm && ulimit -n 40"
    command = [sys.executable, "-m", "starcast", "train", str(images), "-o", str(run), *TINY, "--batch-size", "99"]
    command += ["--workers", "8", "--steps", "3"]
    shell = ["unshare", "-m", "sh", "-c", f"{setting} && exec {shlex.join(command)}"]
    ended = subprocess.run(shell, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (run / "checkpoints/step-000003.pt").exists()


@pytest.fixture
def hang_at_step_2(monkeypatch):
    """Let the loader hang after two steps; gives an `on_step` that has a signal sent while the run waits for it."""
    draw = training_run.family("stargan_v2").batches.draw

    def hang(self, step):
        if step == 2:
            time.sleep(1000)
        return draw(self, step)

    def stop(done, _losses):
        if done == 2:
            signal.setitimer(signal.ITIMER_REAL, 0.3)

    monkeypatch.setattr("starcast.train.families.stargan_v2.batches.ReferenceBatches.draw", hang)
    return stop


def test_a_loader_that_hangs_ends_on_a_signal_having_saved(images, tmp_path, small, hang_at_step_2):
    began = time.monotonic()
    with pytest.raises(TrainingStopped, match="Stopped after step 2"):
        run_quietly(images, tmp_path / "run", replace_options(small, workers=2), on_step=hang_at_step_2)
    assert time.monotonic() - began < 30
    assert read_checkpoint(tmp_path / "run/checkpoints/step-000002.pt").step == 2


def test_a_second_signal_does_not_end_the_save_of_a_waiting_run(images, tmp_path, small, hang_at_step_2, monkeypatch):
    write = training_run.write_checkpoint

    def write_while_a_signal_arrives(path, **content):
        os.kill(os.getpid(), signal.SIGTERM)
        write(path, **content)

    monkeypatch.setattr(training_run, "write_checkpoint", write_while_a_signal_arrives)
    with signals.stop_on_signals(), pytest.raises(TrainingStopped, match="Stopped after step 2"):
        run_quietly(images, tmp_path / "run", replace_options(small, workers=2), on_step=hang_at_step_2)
    assert read_checkpoint(tmp_path / "run/checkpoints/step-000002.pt").step == 2


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_end_a_run(images, tmp_path, small, monkeypatch):
    monkeypatch.setattr(Path, "unlink", _refused)
    last = run_quietly(images, tmp_path / "run", replace_options(small, steps=3, save_every=1, keep=1))
    assert read_checkpoint(last).step == 3


def _refused(path, missing_ok=False):
    raise PermissionError(errno.EACCES, "somebody reads it", str(path))


def test_names_that_are_not_utf_8_train_and_resume(images, tmp_path, small):
    odd = Path(os.fsdecode(b"caf\xe9"))
    try:
        (images / "ink").rename(images / odd)
        (images / odd / "train/0.png").rename(images / odd / "train" / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    run = tmp_path / odd
    run_quietly(images, run, replace_options(small, steps=1, sample_every=1))
    last = run_quietly(images, run, replace_options(small, steps=2), resume=True)
    assert read_checkpoint(last).domain_names == ("caf\udce9", "photo")
    assert json.loads((run / "run.json").read_text())["data_set"]["domains"] == ["caf\udce9", "photo"]
