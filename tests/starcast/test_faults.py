"""Every command that writes, with a kill, a signal, a full disk or a failing one before and after any of its calls.

After each: what is there is the old state or the new one; readers show no traceback; a second start ends as if nothing
had happened, and leaves nothing hidden behind. A draw of the faults is tested; STARCAST_EVERY_FAULT=1 tests them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
from faults import KINDS, SIGNALS, Fault, FaultServer, Outcome, Point, faults_of
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")

Arguments = Sequence[object]
TINY = shlex.split(
    "--image-size 32 --channel-base 256 --max-channels 16 --style-dim 8 --latent-dim 4 --mapping-width 16 "
    "--batch-size 2 --sample-every 0 --workers 0 --device cpu"
)
SET = shlex.split("--train-images 2 --val-images 1 --image-size 32 --video-seconds 1")
MODULES = (
    "starcast.train.creatures.dataset", "starcast.train.creatures.video", "starcast.train.data.check",
    "starcast.train.run", "starcast.train.families.stargan_v2.networks", "starcast.export.write",
    "starcast.export.inspect", "starcast.runtime.faces.align", "starcast.runtime.folder.translate",
    "starcast.runtime.video.translate", "starcast.runtime.video.many.jobs", "starcast.runtime.video.output.outputs",
    "starcast.runtime.video.morph", "onnxruntime",
)  # fmt: skip

# a film of a few bytes, graphs that are traced once and not judged, faces that need no detector: what is slow, and is
# not about files
PREPARE = """
import starcast.train.creatures.dataset as dataset
dataset.write_walk = lambda path, *_: path.write_bytes(b"film")

import starcast.export.write as write
from starcast.export.gate.quality import Verdict
from starcast.export.options import ExportOptions
from starcast.runtime.variants import Parity
from pathlib import Path
from types import SimpleNamespace

class Unjudged:
    flat = SimpleNamespace(trials=[])
    def __init__(self, *_): pass
    def prepare(self, *_): pass
    def judge(self, *_):
        return Verdict(parity=Parity(worst=0.0, tolerance=1.0, levels=0, images=1, batches=(1,)))

write.Judge, write.check_style_graph = Unjudged, lambda *_: 0.0
real, known = write.read_source, {}
write.read_source = lambda path, *rest: known.get(str(path)) or real(path, *rest)
# a face in the middle of every image, found without a network
from contextlib import contextmanager
import starcast.runtime.faces.align as align
from starcast.runtime.faces.points import FacePoints

class Middle:
    facts = {"detector": "the middle"}
    def find(self, image):
        return FacePoints.of_four([[12, 12], [20, 12]], [[13, 20], [19, 20]])

@contextmanager
def open_middle(*_):
    yield Middle()

align.open_finder = open_middle

for path in CHECKPOINTS:
    known[path] = real(Path(path), ExportOptions(mean_draws=10), lambda _: None)
"""


@dataclass(frozen=True)
class Command:
    """What is run in a folder, what its states are called, and who reads the result."""

    command: Callable[[Path], Arguments]
    again: Callable[[Path], Arguments]
    readers: Callable[[Path], Sequence[Arguments]]
    state: Callable[[Path], str]
    final: str = "new"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a film, and a run with two checkpoints, made once."""
    folder = tmp_path_factory.mktemp("material")
    with FaultServer() as server:
        for arguments in (
            ("dataset", "make", "-o", folder / "data", *SET),
            ("train", folder / "data", "-o", folder / "run", *TINY, "--steps", "2", "--save-every", "1"),
        ):
            outcome = server.run(arguments)
            assert outcome.status == 0, outcome.output
    return folder


@pytest.fixture(scope="module")
def server(material: Path) -> Iterator[FaultServer]:
    paths = [str(path) for path in sorted((material / "run/checkpoints").glob("*.pt"))]
    with FaultServer(*MODULES, prepare=f"CHECKPOINTS = {paths!r}\n{PREPARE}") as server:
        outcome = server.run(("export", paths[0], "-o", material / "old", "--mean-draws", "10"))
        assert outcome.status == 0, outcome.output
        yield server


def _hash_of(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _state_of_set(folder: Path) -> str:
    """Which set is there whole, by its seed."""
    if not folder.is_dir():
        return "none"
    assert len(list(folder.rglob("*.png"))) == 9
    for image in folder.rglob("*.png"):
        Image.open(image).load()
    assert (folder / "creature.mp4").is_file()
    return str(json.loads((folder / "creatures.json").read_text())["options"]["seed"])


def _state_of_bundle(folder: Path) -> str:
    """Which bundle is there whole, by the training step that it was exported from."""
    from starcast.runtime.bundle import open_bundle

    if not folder.is_dir():
        return "none"
    bundle = open_bundle(folder)
    for name in bundle.manifest.files:
        bundle.file(name)
    return str(bundle.manifest.provenance.step)


def _check(
    server: FaultServer, tmp_path: Path, make: Callable[[Path], None], command: Command, most: int,
    whole: Sequence[str], kinds: Sequence[str] = KINDS,
) -> None:  # fmt: skip
    """Run a command with faults of these kinds. Its result is one of the states in `whole`; after a success, the final
    one."""
    clean = tmp_path / "clean"
    clean.mkdir()
    make(clean)
    before = command.state(clean)
    listed = server.run(command.command(clean), below=clean)
    assert listed.status == 0, listed.output
    assert command.state(clean) == command.final
    assert listed.points
    wrong: list[str] = []
    for fault in faults_of(listed.points, most, kinds=kinds):
        work = tmp_path / "work"
        work.mkdir()
        make(work)
        outcome = server.run(command.command(work), below=work, fault=fault)
        try:
            _check_one(server, work, command, fault, outcome, before, whole)
        except (AssertionError, OSError) as error:
            wrong.append(f"{fault} at {_point(outcome, fault)}: {error}")
        shutil.rmtree(work)
    assert not wrong, "\n\n".join(wrong)


def _check_one(
    server: FaultServer, work: Path, command: Command, fault: Fault, outcome: Outcome, before: str,
    whole: Sequence[str],
) -> None:  # fmt: skip
    assert "Traceback" not in outcome.output, outcome.output[-1500:]
    assert ".starcast-partial-" not in outcome.output, outcome.output[-500:]
    expected = {-9, 0} if fault.kind == "kill" else {0, 1, 2}
    if fault.kind in SIGNALS:
        expected = {128 + getattr(signal, fault.kind), 0}
        assert _hidden(work) == []  # a signal leaves time to tidy up
    assert outcome.status in expected, f"exit status {outcome.status}: {outcome.output[-500:]}"
    for reader in command.readers(work):
        read = server.run(reader)
        assert "Traceback" not in read.output, f"{reader[0]}: {read.output[-1500:]}"
        assert read.status in (0, 2), f"{reader[0]}: exit status {read.status}: {read.output[-500:]}"
    state = command.state(work)
    if outcome.status == 0:
        assert state == command.final, f"exit status 0, but {state}"
    elif outcome.status == 2:  # refused: an output that cannot be written, before any of it was
        assert state == before, f"exit status 2, but {state}: {outcome.output[-500:]}"
    else:
        assert state in whole, state
    again = server.run(command.again(work), below=work)
    assert "Traceback" not in again.output, again.output[-1500:]
    assert again.status == 0, f"second start: exit status {again.status}: {again.output[-500:]}"
    assert command.state(work) == command.final, f"second start: {command.state(work)}"
    assert _hidden(work) == []


def _hidden(work: Path) -> list[str]:
    return [str(path.relative_to(work)) for path in work.rglob(".*")]


def _point(outcome: Outcome, fault: Fault) -> str:
    return str(next((point for point in outcome.points if point.number == fault.number), "no call"))


def test_dataset_make(server, material, tmp_path):
    def make(work: Path) -> None:
        outcome = server.run(("dataset", "make", "-o", work / "d", *SET, "--seed", "1"))
        assert outcome.status == 0, outcome.output

    def command(work: Path) -> Arguments:
        return ("dataset", "make", "-o", work / "d", *SET, "--seed", "2", "--overwrite")

    def readers(work: Path) -> Sequence[Arguments]:
        return (("dataset", "check", work / "d", "--image-size", "32"),
                ("dataset", "make", "-o", work / "d", *SET, "--seed", "3"))  # fmt: skip

    _check(
        server, tmp_path, make, Command(command, command, readers, lambda work: _state_of_set(work / "d"), final="2"),
        8, ("1", "2"),
    )  # fmt: skip


def test_export(server, material, tmp_path):
    def make(work: Path) -> None:
        shutil.copytree(material / "old", work / "b")
        (work / "link").symlink_to(work / "b")

    def command(work: Path) -> Arguments:
        return ("export", material / "run/checkpoints/step-000002.pt", "-o", work / "b", "--mean-draws", "10")

    def readers(work: Path) -> Sequence[Arguments]:
        source = next((material / "data").rglob("val/*.png"))
        return (("translate", work / "link", source, "-o", work / "o.png", "--domain", "0", "--backend",
                 "onnxruntime", "--overwrite"), ("inspect", work / "b"))  # fmt: skip

    _check(
        server, tmp_path, make,
        Command(command, command, readers, lambda work: _state_of_bundle(work / "b"), final="2"), 8, ("1", "2"),
    )  # fmt: skip


def test_a_first_export(server, material, tmp_path):
    def command(work: Path) -> Arguments:
        return ("export", material / "run/checkpoints/step-000002.pt", "-o", work / "b", "--mean-draws", "10")

    _check(
        server, tmp_path, lambda _: None,
        Command(command, command, lambda work: (("inspect", work / "b"),), lambda work: _state_of_bundle(work / "b"),
                final="2"), 4, ("none", "2"),
    )  # fmt: skip


@pytest.mark.parametrize(("kinds", "most"), [(KINDS, 8), (SIGNALS, 6)], ids=["faults", "signals"])
@pytest.mark.parametrize("verb", ["translate", "align"])
def test_a_folder(server, material, tmp_path, verb, kinds, most):
    """Several files: each is whole or absent, and a second start makes the rest."""

    def command(work: Path) -> Arguments:
        photos = material / "data/checked/train"
        if verb == "align":
            return (verb, photos, "-o", work / "o", "--size", "32")
        return (verb, material / "old", photos, "-o", work / "o", "--domain", "0", "--backend", "onnxruntime")

    def state(work: Path) -> str:
        images = sorted((work / "o").rglob("[!.]*.png"))
        for image in images:
            Image.open(image).load()
        return str(len(images))

    _check(server, tmp_path, lambda _: None, Command(command, command, lambda _: (), state, final="2"), most,
           ("0", "1", "2"), kinds)  # fmt: skip


def test_video(server, material, tmp_path):
    def make(work: Path) -> None:
        outcome = server.run(command(work, "0"))
        assert outcome.status == 0, outcome.output

    def command(work: Path, domain: str = "1") -> Arguments:
        return ("video", material / "old", material / "data/creature.mp4", "-o", work / "f.mp4", "--domain", domain,
                "--backend", "onnxruntime", "--overwrite")  # fmt: skip

    films: dict[str, str] = {}
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        assert server.run(command(tmp_path / name, name)).status == 0
        films[_hash_of(tmp_path / name / "f.mp4")] = name

    def state(work: Path) -> str:
        return films.get(_hash_of(work / "f.mp4"), "damaged")

    _check(server, tmp_path, make, Command(command, command, lambda _: (), state, final="1"), 10, ("0", "1"))


@pytest.mark.parametrize("name", ["f.gif", "f_%03d.png"])
def test_video_as_an_animation_and_as_numbered_images(server, material, tmp_path, name):
    """Of numbered images the first is the last to come: if it is there, all are."""

    def command(work: Path) -> Arguments:
        return ("video", material / "old", material / "data/creature.mp4", "-o", work / name, "--domain", "1",
                "--backend", "onnxruntime", "--end", "0.2")  # fmt: skip

    def state(work: Path) -> str:
        if not (work / name.replace("%03d", "001")).exists():
            return "none"
        frames = 0
        for path in work.glob(name.replace("%03d", "*")):
            with Image.open(path) as image:
                image.load()
                frames += getattr(image, "n_frames", 1)
        return str(frames)

    _check(server, tmp_path, lambda _: None, Command(command, command, lambda _: (), state, final="5"), 5,
           ("none", "5"))  # fmt: skip


def test_video_of_several_films_made_again(server, material, tmp_path):
    """Each film is the old one or the new one, and a second start makes the rest."""
    for name in ("a.mp4", "b.mp4"):
        (material / "clips").mkdir(exist_ok=True)
        shutil.copy(material / "data/creature.mp4", material / "clips" / name)

    def make(work: Path) -> None:
        outcome = server.run(command(work, "0"))
        assert outcome.status == 0, outcome.output

    def command(work: Path, domain: str = "1") -> Arguments:
        return ("video", material / "old", material / "clips", "-o", work / "o", "--domain", domain, "--backend",
                "onnxruntime", "--end", "0.2", "--overwrite")  # fmt: skip

    def state(work: Path) -> str:
        return " ".join(_hash_of(path)[:8] for path in sorted((work / "o").glob("[!.]*.mp4")))

    films: dict[str, list[str]] = {}
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        assert server.run(command(tmp_path / name, name)).status == 0
        films[name] = state(tmp_path / name).split()
    (old_a, old_b), (new_a, new_b) = films["0"], films["1"]
    whole = [f"{a} {b}" for a in (old_a, new_a) for b in (old_b, new_b)]
    _check(server, tmp_path, make, Command(command, command, lambda _: (), state, final=whole[-1]), 5, whole)


def test_morph(server, material, tmp_path):
    source = next((material / "data").rglob("val/*.png"))

    def command(work: Path) -> Arguments:
        return ("morph", material / "old", source, "-o", work / "f.mp4", "--domain", "1", "--seeds", "1,2",
                "--frames-per-step", "3", "--backend", "onnxruntime")  # fmt: skip

    def state(work: Path) -> str:
        if not (work / "f.mp4").exists():
            return "none"
        with av.open(str(work / "f.mp4")) as film:
            return str(len(list(film.decode(video=0))))

    _check(server, tmp_path, lambda _: None, Command(command, command, lambda _: (), state, final="6"), 4,
           ("none", "6"))  # fmt: skip


def test_train(server, material, tmp_path):
    """A checkpoint is whole or absent; a second start goes on from the newest, or begins, and ends with the same."""

    def start(work: Path) -> Arguments:
        return ("train", material / "data", "-o", work / "r", *TINY, "--steps", "2", "--save-every", "1", "--seed", "5")

    def again(work: Path) -> Arguments:
        started = any((work / "r/checkpoints").glob("step-*.pt"))
        return (*start(work)[:4], "--resume") if started else start(work)

    def state(work: Path) -> str:
        import torch

        steps = [torch.load(path, weights_only=True)["step"] for path in (work / "r/checkpoints").glob("step-*.pt")]
        return str(max(steps, default=0))

    _check(
        server, tmp_path, lambda _: None,
        Command(start, again, lambda work: (("inspect", work / "r"),), state, final="2"), 6, ("0", "1", "2"),
    )  # fmt: skip


def test_faults_are_drawn_with_every_rename_killed(monkeypatch):
    monkeypatch.delenv("STARCAST_EVERY_FAULT", raising=False)
    points = [Point(number, "rename" if number == 7 else "write", "/x") for number in range(20)]
    drawn = list(faults_of(points, 5))
    assert len(drawn) == 5
    assert {Fault(7, "kill", "before"), Fault(7, "kill", "after")} <= set(drawn)
    assert len(list(faults_of(points))) == 120
    monkeypatch.setenv("STARCAST_EVERY_FAULT", "1")
    assert len(list(faults_of(points, 5))) == 120
    assert os.environ["STARCAST_EVERY_FAULT"] == "1"
