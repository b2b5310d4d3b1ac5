"""`translate --align` with `--landmarks` and `--mean`: they decide what is found, where it goes, and mark the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_faces import UPRIGHT, draw_face, drawn_heatmaps
from drawn_sight import FACE, open_drawn_files, scene

from starcast.errors import OptionError
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.bundle import sha256_of
from starcast.runtime.faces import finders, opening
from starcast.runtime.folder import translate
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import VideoOptions

MIDDLE, SIDE, HALF = 200, 240, 120  # of the drawn face's square, in an image of 400


def run(bundle, sources, output, **changes):
    lines = []
    given = {"domain": "dog", "seed": 3, "backend": "onnxruntime", "threads": 1, "align": True, **changes}
    return translate_all(bundle, [sources], TranslateOptions(output=output, **given), progress=lines.append), lines


def write_mean(path: Path, *, enlarged: float = 1.0) -> Path:
    """Landmarks of a drawn face that fills the square of 256, times `enlarged` about its middle."""
    eyes_and_mouth = (np.array(UPRIGHT) - 0.5) * 256 * enlarged + 127.5
    landmarks = np.repeat(eyes_and_mouth[2:].mean(axis=0)[None], 98, axis=0)
    landmarks[[*range(60, 68), 96]], landmarks[[*range(68, 76), 97]] = eyes_and_mouth[:2]
    landmarks[[76, 82]] = eyes_and_mouth[2:]
    np.savez(path, mean=landmarks)
    return path


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """A file of landmark weights that finds drawn faces, where no detector is installed."""
    monkeypatch.setattr(opening, "weights", lambda: None)
    monkeypatch.setattr(finders, "_load_opener", lambda: lambda path: drawn_heatmaps)
    (tmp_path / "wing.ckpt").write_bytes(b"one")
    return tmp_path / "wing.ckpt"


@pytest.fixture
def photo(tmp_path):
    image, _ = draw_face(400, 400, (MIDDLE, MIDDLE), SIDE)
    write_image(tmp_path / "in/a.png", image)
    return tmp_path / "in"


def changed_part(photo: Path, output: Path) -> list[int]:
    """Left, right, top and bottom of what differs from the source."""
    differs = (read_image(photo / "a.png") != read_image(output / "a.png")).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return [columns[0], columns[-1], rows[0], rows[-1]]


def test_the_face_is_where_the_landmarks_say_and_its_square_is_where_the_mean_says(
    tiny_bundle, photo, weights, tmp_path
):
    for enlarged in (1.0, 1.5):
        mean = write_mean(tmp_path / "mean.npz", enlarged=enlarged)
        output = tmp_path / f"out{enlarged}"
        report, _ = run(tiny_bundle, photo, output, landmarks=weights, mean=mean)
        assert (report.done, report.failed) == (1, [])
        half = HALF / enlarged  # a larger face in the square: a smaller square in the image
        expected = [MIDDLE - half, MIDDLE + half] * 2
        assert np.abs(np.array(changed_part(photo, output)) - expected).max() <= 400 / 64 + 2  # a cell of the heatmaps


def test_the_record_holds_the_hashes_of_what_found_the_faces(tiny_bundle, photo, weights, tmp_path):
    mean = write_mean(tmp_path / "mean.npz")
    run(tiny_bundle, photo, tmp_path / "out", landmarks=weights, mean=mean)
    [made] = read_runs(tmp_path / "out/starcast.json")
    assert made["faces"] == {"landmarks": sha256_of(weights), "mean": sha256_of(mean)}


@pytest.mark.parametrize("changed", ["landmarks", "mean", "detector", "no mean"])
def test_with_another_file_the_translation_is_not_taken_for_the_same_work(
    tiny_bundle, photo, weights, tmp_path, monkeypatch, changed
):
    files = {"landmarks": weights, "mean": write_mean(tmp_path / "mean.npz")}
    run(tiny_bundle, photo, tmp_path / "out", **files)
    moved = {name: path.rename(tmp_path / f"moved-{path.name}") for name, path in files.items()}
    assert run(tiny_bundle, photo, tmp_path / "out", **moved)[0].skipped == 1
    if changed == "landmarks":
        moved["landmarks"].write_bytes(b"other")
    elif changed == "mean":
        write_mean(moved["mean"], enlarged=1.1)
    elif changed == "detector":
        (tmp_path / "yunet.onnx").write_bytes(b"weights")
        monkeypatch.setattr(opening, "weights", lambda: tmp_path / "yunet.onnx")
    else:
        del moved["mean"]
    with pytest.raises(OptionError, match="options, landmarks, mean or face detector: .*--overwrite"):
        run(tiny_bundle, photo, tmp_path / "out", **moved)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"landmarks": "missing.ckpt"}, "missing.ckpt does not exist"),
        ({"landmarks": "in"}, "in is a folder, but not a bundle"),
        ({"mean": "missing.npz"}, "missing.npz does not exist"),
        ({"mean": "wing.ckpt"}, "wing.ckpt holds no mean landmarks"),
        ({}, r"has no landmark network, and no face detector .*pip install 'starcast\[faces\]'; or give --landmarks "),
    ],
)
def test_files_are_checked_before_the_work(tiny_bundle, photo, weights, tmp_path, monkeypatch, files, sentence):
    monkeypatch.setattr(translate, "Translator", None)
    given = {"landmarks": weights} if "mean" in files else {}
    with pytest.raises(OptionError, match=sentence):
        run(tiny_bundle, photo, tmp_path / "out", **given, **{flag: tmp_path / name for flag, name in files.items()})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [TranslateOptions, VideoOptions])
def test_the_files_are_refused_without_align(make):
    with pytest.raises(OptionError, match=r"^--landmarks has no effect without --align: add --align$"):
        make(landmarks=Path("wing.ckpt"))
    with pytest.raises(OptionError, match=r"^--landmarks and --mean have no effect without --align: add --align$"):
        make(landmarks=Path("wing.ckpt"), mean=Path("mean.npz"))


def test_the_style_of_a_reference_is_that_of_its_aligned_face(tiny_bundle, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_face_files", open_drawn_files)
    write_image(tmp_path / "in/a.png", scene(60))
    write_image(tmp_path / "refs/dog-face.png", scene(20))
    write_image(tmp_path / "refs/dog-none.png", scene(None))
    report, lines = run(tiny_bundle, tmp_path / "in", tmp_path / "out", seed=None, ref=tmp_path / "refs")
    assert (report.done, report.failed) == (2, [])
    faceless = tmp_path / "refs/dog-none.png"
    assert f"no face was found in the reference {faceless}: its style is that of the whole image" in lines
    face = np.full((1, 1, 1, 3), FACE, np.uint8)
    with Translator(tiny_bundle, backend="onnxruntime", threads=1) as translator:
        for name, reference in (("face", np.full((32, 32, 3), FACE, np.uint8)), ("none", scene(None))):
            expected = tiny_model.translation(face, translator.style(domain="dog", reference=reference))[0, 0, 0]
            [path] = [path for path in (tmp_path / "out").rglob("*.png") if name in str(path)]
            assert np.abs(read_image(path)[45, 76].astype(int) - expected).max() <= 1
