"""`starcast align`, as `translate` does it: names, records, marks, restarts, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_faces import COLOURS, colour_at, draw_face, use_drawn_faces
from PIL import Image

from starcast.cli import root
from starcast.errors import OptionError
from starcast.images.read import read_image, read_stored
from starcast.images.write import write_image
from starcast.runtime.folder.sources import find_sources

# by the rule of CelebA-HQ: eyes 0.3 apart, 0.3 above the mouth, so the square's side is 4 * 0.3 = 1.2, and its centre
# lies 0.03 below the eyes
PLACES = [(0.375, 0.475), (0.625, 0.475), (0.4, 0.725), (0.6, 0.725)]


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["align", *map(str, arguments)], standalone_mode=False)


def _places(size: int) -> list[tuple[float, float]]:
    return [(x * size, y * size) for x, y in PLACES]


@pytest.fixture(autouse=True)
def _drawn_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_drawn_faces(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    write_image(folder / "a.png", draw_face(300, 400, (220, 150), 160, 25)[0])
    write_image(folder / "more" / "b.jpg", draw_face(500, 500, (250, 250), 380, -25)[0])
    return folder


def _check_aligned(path: Path, size: int = 256) -> None:
    image = read_image(path)
    assert image.shape == (size, size, 3)
    difference = np.abs(np.array(colour_at(image, _places(size))) - COLOURS)
    assert difference.max() < 40


def test_a_folder_is_aligned_with_its_layout_and_a_record(photos: Path, tmp_path: Path) -> None:
    result = _invoke(photos, "-o", tmp_path / "out")
    assert result.return_value == 0
    assert "2 aligned, 0 there already, 0 failed." in result.stdout
    _check_aligned(tmp_path / "out/a.png")
    _check_aligned(tmp_path / "out/more/b.png")
    [run] = json.loads((tmp_path / "out/starcast.json").read_text())["runs"]
    assert (run["counts"], run["sources"], run["options"]["size"]) == (
        {"aligned": 2, "there_already": 0, "failed": 0}, [str(photos)], 256,
    )  # fmt: skip
    assert "finished" in run


def test_a_second_run_aligns_only_what_is_missing_or_was_edited(photos: Path, tmp_path: Path) -> None:
    _invoke(photos, "-o", tmp_path / "out")
    write_image(photos / "a.png", draw_face(300, 300, (150, 150), 100)[0])
    write_image(photos / "c.png", draw_face(300, 300, (150, 150), 200)[0])
    before = (tmp_path / "out/more/b.png").stat().st_mtime_ns
    result = _invoke(photos, "-o", tmp_path / "out")
    assert f"{photos / 'a.png'} was edited since the last run: aligned again" in result.stderr
    assert "2 aligned, 1 there already, 0 failed." in result.stdout
    assert (tmp_path / "out/more/b.png").stat().st_mtime_ns == before


def test_another_size_is_refused_and_taken_with_overwrite(photos: Path, tmp_path: Path) -> None:
    _invoke(photos, "-o", tmp_path / "out")
    result = _invoke(photos, "-o", tmp_path / "out", "--size", 64)
    assert isinstance(result.exception, OptionError)
    assert "made with a different source, landmarks, mean, face detector or options" in str(result.exception)
    assert _invoke(photos, "-o", tmp_path / "out", "--size", 64, "--overwrite").return_value == 0
    _check_aligned(tmp_path / "out/a.png", 64)


def test_a_users_own_file_is_never_overwritten(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    own = draw_face(10, 10, (5, 5), 5)[0]
    write_image(tmp_path / "out/a.png", own)
    result = _invoke(photos, "-o", tmp_path / "out")
    assert "exists, not written by starcast" in str(result.exception)
    np.testing.assert_array_equal(read_image(tmp_path / "out/a.png"), own)
    assert "is a source" in str(_invoke(photos, "-o", photos).exception)


def test_images_without_a_face_and_damaged_ones_fail_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    write_image(photos / "flat.png", np.full((200, 200, 3), 70, np.uint8))
    (photos / "damaged.png").write_bytes((photos / "a.png").read_bytes()[:200])
    (photos / "notes.pdf").write_bytes(b"%PDF")
    result = _invoke(photos, "-o", tmp_path / "out")
    assert result.return_value == 1
    assert "2 aligned, 0 there already, 2 failed." in result.stdout
    lines = result.stderr.splitlines()
    assert f"no face was found in {photos / 'flat.png'}: crop it to the face, or leave it out" in lines
    assert f"{photos / 'notes.pdf'} is not an image: skipped" in lines
    assert not (tmp_path / "out/flat.png").exists()


@pytest.mark.parametrize("size", [64, 100, 512, 1024])
def test_every_size_has_eyes_and_mouth_at_the_same_places(photos: Path, tmp_path: Path, size: int) -> None:
    _invoke(photos / "a.png", "-o", tmp_path / "out.png", "--size", size)
    _check_aligned(tmp_path / "out.png", size)


def test_with_a_mean_eyes_and_mouth_lie_where_the_mean_has_them(photos: Path, tmp_path: Path) -> None:
    mean = np.full((98, 2), 128.0)
    mean[[*range(60, 68), 96]], mean[[*range(68, 76), 97]] = (88, 100), (168, 100)
    mean[[76, 82]] = (96, 180), (160, 180)
    np.savez(tmp_path / "mean.npz", mean=mean)
    assert _invoke(photos / "a.png", "-o", tmp_path / "o.png", "--mean", tmp_path / "mean.npz").return_value == 0
    places = [(88, 100), (168, 100), (96, 180), (160, 180)]
    assert np.abs(np.array(colour_at(read_image(tmp_path / "o.png"), places)) - COLOURS).max() < 40


def test_grey_images_and_transparent_ones_are_aligned_as_translate_reads_them(tmp_path: Path) -> None:
    face, _ = draw_face(300, 300, (150, 150), 200)
    alpha = np.full((300, 300), 255, np.uint8)
    alpha[:40] = 0
    write_image(tmp_path / "clear.png", np.dstack([face, alpha]))
    assert _invoke(tmp_path / "clear.png", "-o", tmp_path / "white.png").return_value == 0
    assert read_image(tmp_path / "white.png")[:20].min() > 250  # transparent areas are white
    assert _invoke(tmp_path / "clear.png", "-o", tmp_path / "kept.png", "--keep-alpha").return_value == 0
    kept = read_stored(tmp_path / "kept.png").alpha
    assert kept is not None
    assert (kept[10].max(), kept[200].min()) == (0, 255)
    Image.fromarray(face).convert("P").save(tmp_path / "palette.png")
    assert _invoke(tmp_path / "palette.png", "-o", tmp_path / "p.png").return_value == 0
    _check_aligned(tmp_path / "p.png")
    Image.fromarray(face[..., 0]).save(tmp_path / "grey.png")  # its discs have no colour left
    assert _invoke(tmp_path / "grey.png", "-o", tmp_path / "g.png").return_value == 1


def test_aligned_images_are_sources_for_translate_and_not_for_align(photos: Path, tmp_path: Path) -> None:
    out = photos / "aligned"
    _invoke(photos, "-o", out)
    assert [source.path.name for source in find_sources([out]).sources] == ["a.png", "b.png"]
    result = _invoke(photos, "-o", tmp_path / "again")
    assert "2 aligned" in result.stdout
    assert "and 1 more are images that starcast made: skipped (name a file to align it again)" in result.stderr


def test_folders_of_aligned_images_are_sources_below_a_folder_that_is_searched(photos: Path, tmp_path: Path) -> None:
    for domain, source in (("female", "a.png"), ("male", "more/b.jpg")):
        _invoke(photos / source, "-o", tmp_path / "aligned" / domain)
    found = find_sources([tmp_path / "aligned"])
    assert [source.relative.as_posix() for source in found.sources] == ["female/a.png", "male/b.png"]
    assert find_sources([tmp_path / "aligned" / "**" / "*.png"]).translations == []
    result = _invoke(tmp_path / "aligned", "-o", tmp_path / "again")
    assert "holds only images that starcast made" in str(result.exception)


def test_a_pipe_is_a_source_and_an_output(photos: Path) -> None:
    code = """
import sys
import pytest
from drawn_faces import use_drawn_faces
from starcast.cli import main
with pytest.MonkeyPatch.context() as patch:
    use_drawn_faces(patch)
    main(["align", "-", "-o", "-", "--size", "128"])
"""
    support = Path(__file__).parents[1] / "support"
    result = subprocess.run(
        [sys.executable, "-c", code], input=(photos / "a.png").read_bytes(), capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(support)},
    )  # fmt: skip
    assert np.asarray(Image.open(BytesIO(result.stdout))).shape == (128, 128, 3)
    assert b"1 aligned" in result.stderr


def test_quality_and_transparency_need_a_format_that_has_them(photos: Path, tmp_path: Path) -> None:
    assert "--quality is for JPEG" in str(_invoke(photos, "-o", tmp_path / "o", "--quality", 90).exception)
    assert "--keep-alpha needs PNG" in str(
        _invoke(photos / "a.png", "-o", tmp_path / "o.jpg", "--keep-alpha").exception
    )
    assert _invoke(photos / "a.png", "-o", tmp_path / "o", "--format", "jpg", "--quality", 90).return_value == 0
    assert (tmp_path / "o/a.jpg").exists()


@pytest.mark.parametrize(("name", "words", "sentence"), [
    ("o.png", ["--crf", 3], "--crf is for videos, and the output is not a video: leave it out"),
    ("o", ["--preset", "slow"], "--preset is for videos, and the output is not a video: leave it out"),
    ("o", ["--no-steady"], "--no-steady is for videos, and the output is not a video: leave it out"),
    ("o.mp4", ["--quality", 90], "--quality is for images, and the output is a video: leave it out"),
    ("o.mp4", ["--keep-alpha"], "--keep-alpha is for images, and the output is a video: leave it out"),
    ("o.MKV", ["--format", "webp"], "--format is for images, and the output is a video: leave it out"),
])  # fmt: skip
def test_options_without_an_effect_are_refused(
    photos: Path, tmp_path: Path, name: str, words: list[str], sentence: str
) -> None:
    assert sentence in str(_invoke(photos / "a.png", "-o", tmp_path / name, *words).exception)


def test_a_video_of_odd_sides_is_refused_and_an_image_is_not(photos: Path, tmp_path: Path) -> None:
    refused = _invoke(photos / "a.png", "-o", tmp_path / "o.mp4", "--size", 65)
    assert "--size is 65, but a video's width and height must be even: give --size 66" in str(refused.exception)
    assert _invoke(photos / "a.png", "-o", tmp_path / "o.png", "--size", 65).return_value == 0


def test_several_images_need_a_folder_and_an_empty_folder_is_no_source(photos: Path, tmp_path: Path) -> None:
    assert "2 would be written" in str(_invoke(photos, "-o", tmp_path / "o.png").exception)
    (tmp_path / "empty").mkdir()
    assert "no images in" in str(_invoke(tmp_path / "empty", "-o", tmp_path / "o").exception)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The start of an MP4 file: enough to know that it is a video."""
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    ("output", "suggested"), [("aligned", "aligned/clip.mp4"), ("out.png", "clip-aligned.mp4"), ("a.b", "a.b/clip.mp4")]
)
def test_a_video_with_an_output_of_images_is_refused_with_the_output_to_give(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, suggested: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=rf"^clip.mp4 is a video: .* for example with -o {suggested}$"):
        _raising("clip.mp4", "-o", output)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_video_among_images_is_named_and_the_images_are_aligned(clip: Path, photos: Path, tmp_path: Path) -> None:
    result = _invoke(photos, clip, "-o", tmp_path / "out")
    assert result.return_value == 1
    assert f"{clip} is a video: align it separately" in result.stderr
    assert f"for example with -o {tmp_path / 'out/clip.mp4'}" in result.stderr
    assert "2 aligned, 0 there already, 1 failed." in result.stdout


def test_a_video_as_the_output_of_several_sources_or_in_another_format_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="needs exactly one video as its source, but 2 sources are given"):
        _raising(clip, clip, "-o", tmp_path / "out.mp4")
    with pytest.raises(OptionError, match=r"out.avi cannot be written: end it in .*\.png.*\.mkv, \.webm for a video"):
        _raising(clip, "-o", tmp_path / "out.avi")


def _raising(*arguments: object) -> None:
    error = _invoke(*arguments).exception
    assert error is not None
    raise error
