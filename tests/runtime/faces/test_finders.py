"""Who finds a face, and what happens where nobody can."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import draw_face, drawn_heatmaps, find_drawn_face

from starcast.errors import CheckpointError, MissingExtraError, OptionError
from starcast.images.landmarks import read_landmarks
from starcast.runtime.faces import finders
from starcast.runtime.faces.finders import FLOOR, landmark_finder, open_finder
from starcast.runtime.faces.mean import read_mean
from starcast.runtime.faces.opening import FaceFiles
from starcast.runtime.faces.points import FacePoints


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finders, "_detector", lambda **_: (None, {}))


def _distance(one: FacePoints, other: FacePoints) -> float:
    return float(np.abs(np.concatenate([one.eyes - other.eyes, one.mouth - other.mouth])).max())


def test_a_square_image_that_the_face_fills_is_looked_at_once_and_whole() -> None:
    image, face = draw_face(512, 512, (250, 260), 400, 10)
    shapes = []

    def find(part):
        shapes.append(part.shape)
        return drawn_heatmaps(part)

    found = landmark_finder(find, find_drawn_face, 256)(image)
    assert found is not None
    assert not found.is_sparse
    assert shapes == [(256, 256, 3)]
    assert _distance(found, face) < 512 / 64


def test_a_size_above_256_is_looked_at_in_that_size_and_one_below_in_256() -> None:
    image, _ = draw_face(600, 600, (300, 300), 500)
    shapes = []
    for size in (64, 256, 512):
        landmark_finder(lambda part: shapes.append(part.shape[0]) or drawn_heatmaps(part), None, size)(image)
    assert shapes == [256, 256, 512]


def test_a_small_face_that_the_detector_finds_is_cut_out_first() -> None:
    image, face = draw_face(1000, 1500, (1200, 300), 120, -30)
    found = landmark_finder(drawn_heatmaps, find_drawn_face, 256)(image)
    assert found is not None
    assert _distance(found, face) < 120 / 40  # a heatmap's cell is 23 pixels of the whole image, 2 of the face's square


@pytest.mark.parametrize(("height", "width"), [(400, 800), (900, 500)])
def test_an_image_that_is_not_square_is_looked_at_again_undistorted(height: int, width: int) -> None:
    image, face = draw_face(height, width, (width / 2, height / 2), 360, 25)
    found = landmark_finder(drawn_heatmaps, None, 256)(image)
    assert found is not None
    assert _distance(found, face) < 360 / 40


def test_an_image_without_a_face_gives_none() -> None:
    flat = np.full((300, 300, 3), 90, np.uint8)
    assert landmark_finder(drawn_heatmaps, None, 256)(flat) is None
    assert landmark_finder(drawn_heatmaps, find_drawn_face, 256)(flat) is None


@pytest.mark.parametrize("loudest", [0.05, 1.0])
def test_a_bundles_own_landmark_network_that_sees_no_face_finds_none(loudest: float) -> None:
    """Heatmaps of noise have peaks, too: only their height tells that there is no face."""
    maps = np.random.default_rng(1).uniform(0, loudest, (98, 64, 64)).astype(np.float32)
    translator: Any = SimpleNamespace(
        bundle=SimpleNamespace(manifest=SimpleNamespace(landmarks=True)), heatmaps=lambda image: maps,
        landmarks=lambda image: read_landmarks(maps[None], *image.shape[:2])[0],
    )  # fmt: skip
    sight = FaceFiles(None, None, has_detector=False, facts={}).sight(64, translator=translator)
    found = sight.find(np.zeros((256, 256, 3), np.uint8))
    assert len(found) == (loudest > FLOOR)


def test_heatmaps_with_one_peak_for_all_landmarks_give_none() -> None:
    one = np.zeros((98, 64, 64), np.float32)
    one[:, 30, 30] = 1
    assert landmark_finder(lambda image: one, None, 256)(np.zeros((256, 256, 3), np.uint8)) is None


@pytest.mark.usefixtures("no_detector")
def test_without_a_file_and_without_a_detector_both_ways_out_are_named() -> None:
    with (
        pytest.raises(
            OptionError, match=r"pip install 'starcast\[faces\]'; or .*wing\.ckpt, which `starcast download wing`"
        ),
        open_finder(None, 256),
    ):
        pass


@pytest.mark.usefixtures("no_detector")
def test_a_wing_file_gives_the_landmarks_of_its_network(tmp_path: Path) -> None:
    from starcast.train.families.stargan_v2.landmarks import find_landmarks, random_fan

    network = random_fan(torch.Generator().manual_seed(3))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "wing.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    with open_finder(tmp_path / "wing.ckpt", 256) as finder:
        found = finder.find(image)
    expected = FacePoints.of_landmarks(find_landmarks(network, image))
    assert found is not None
    np.testing.assert_array_equal(found.anchors, expected.anchors)
    assert finder.facts.keys() == {"landmarks"}


def test_a_landmark_file_is_opened_through_an_entry_point() -> None:
    [entry] = entry_points(group=finders.GROUP, name=finders.TORCH)
    assert entry.load().__name__ == "open_heatmaps"


@pytest.mark.usefixtures("no_detector")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><title>Dropbox</title></html>", "is a web page or XML"),
        (b"", "is empty"),
        (b"PK\3\4 cut short", "is truncated"),
        (None, "does not exist: check the path"),
    ],
)
def test_what_is_no_landmark_file_is_named_with_the_right_one(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "wing.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((CheckpointError, OptionError)) as caught, open_finder(path, 256):
        pass
    assert str(caught.value).startswith(f"{path} {reason}")
    assert "wing.ckpt, which `starcast download wing` fetches (from github.com/clovaai/stargan-v2)" in str(caught.value)


@pytest.mark.usefixtures("no_detector")
def test_a_bundle_without_a_landmark_network_is_refused_before_the_work(tiny_bundle: Path) -> None:
    with (
        pytest.raises(OptionError, match=r"has no landmark network: give --landmarks wing\.ckpt"),
        open_finder(tiny_bundle, 256),
    ):
        pass


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a folder, but not a bundle"), open_finder(tmp_path, 256):
        pass


@pytest.mark.usefixtures("no_detector")
def test_an_installation_without_the_entry_point_is_called_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wing.ckpt").touch()
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    with pytest.raises(MissingExtraError, match="pip install"), open_finder(tmp_path / "wing.ckpt", 256):
        pass


def _write_mean(path: Path, kind: str) -> None:
    points = np.random.default_rng(0).uniform(0, 256, (98, 2))
    if kind == "page":
        path.write_text("\n<!DOCTYPE html><html></html>")
    elif kind == "text":
        path.write_text("mean")
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, points)
    elif kind == "pickle":
        np.savez(path, mean=np.array([{"a": 1}], object))
    else:
        arrays = {"shape": points[:68], "nan": points * np.nan, "point": np.zeros_like(points), "parts": points / 256}
        np.savez(path, **({"other": points} if kind == "name" else {"mean": arrays[kind]}))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("page", "holds no mean landmarks (it is a web page)"),
        ("text", "holds no mean landmarks (file is not a zip file)"),
        ("npy", "holds no mean landmarks (file is not a zip file)"),
        ("pickle", "holds no mean landmarks (they have the shape (1,) instead of (98, 2))"),
        ("name", "holds no mean landmarks (\"there is no item named 'mean.npy' in the archive\")"),
        ("shape", "holds no mean landmarks (they have the shape (68, 2) instead of (98, 2))"),
        ("nan", "holds no mean landmarks (they hold numbers that are not finite)"),
        ("point", "holds no face in a square of 256 pixels (eyes and mouth nearly coincide)"),
        ("parts", "holds no face in a square of 256 pixels (eyes and mouth nearly coincide)"),
    ],
)
def test_what_is_no_mean_is_refused_in_one_sentence(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "celeba_lm_mean.npz"
    _write_mean(path, kind)
    with pytest.raises(OptionError) as caught:
        read_mean(path)
    assert str(caught.value).startswith(f"{path} {reason}: give --mean the official celeba_lm_mean.npz")


def test_a_mean_that_is_missing_is_named_with_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist: check the path, or give --mean .* `starcast download wing`"):
        read_mean(tmp_path / "mean.npz")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_mean_in_either_precision_is_read(tmp_path: Path, kind: type) -> None:
    points = np.random.default_rng(0).uniform(0, 256, (98, 2)).astype(kind)
    np.savez(tmp_path / "mean.npz", mean=points)
    np.testing.assert_allclose(read_mean(tmp_path / "mean.npz").centre, points.mean(axis=0), rtol=1e-5)


def test_finding_a_face_imports_no_torch_until_a_file_is_opened() -> None:
    import subprocess

    code = "import sys; import starcast.runtime.faces.align; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
