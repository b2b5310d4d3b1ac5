"""`translate --sheet`: sources above, references at the left, and every translation between them."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.images.read import read_image
from starcast.images.write import WRITTEN_SUFFIXES, why_too_large, write_image
from starcast.runtime.folder import sheet as module
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions

SIDE = 32


def draw(seed):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    for number in range(3):
        write_image(tmp_path / "photos" / f"{number}.png", draw(number))
    return tmp_path / "photos"


@pytest.fixture
def references(tmp_path):
    for number, name in enumerate(("cat-a", "dog-b", "wild-c")):
        write_image(tmp_path / "references" / f"{name}.png", draw(10 + number))
    return tmp_path / "references"


def translate(bundle, photos, folder, **options):
    lines = []
    options = {"backend": "onnxruntime", "threads": 1, "output": folder / "out", **options}
    report = translate_all(bundle, [photos], TranslateOptions(**options), progress=lines.append)
    return report, lines


def tiles(path):
    """The tiles of a sheet, [rows][columns]."""
    pixels = read_image(path)
    rows, columns = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    return pixels.reshape(rows, SIDE, columns, SIDE, 3).transpose(0, 2, 1, 3, 4)


def test_first_row_sources_first_column_references_and_each_translation_where_they_meet(
    tiny_bundle, photos, references, tmp_path
):
    report, lines = translate(tiny_bundle, photos, tmp_path, ref=references, sheet=tmp_path / "sheet.png")
    shown = tiles(tmp_path / "sheet.png")
    assert shown.shape[:2] == (4, 4)
    assert (shown[0, 0] == 255).all()
    for number in range(3):
        np.testing.assert_array_equal(shown[0, number + 1], draw(number))
        np.testing.assert_array_equal(shown[number + 1, 0], draw(10 + number))
    for row, style in enumerate(("cat-cat-a", "dog-dog-b", "wild-wild-c"), start=1):
        for column in range(3):
            made = read_image(tmp_path / "out" / style / f"{column}.png")
            np.testing.assert_array_equal(shown[row, column + 1], made)
    assert not report.failed
    assert any("sheet.png" in line and "3 images in 3 styles" in line for line in lines)


def test_a_style_without_a_reference_is_named_in_its_row(tiny_bundle, photos, tmp_path):
    translate(tiny_bundle, photos, tmp_path, domain="cat,dog", seed=7, sheet=tmp_path / "sheet.png")
    shown = tiles(tmp_path / "sheet.png")
    assert shown.shape[:2] == (3, 4)
    assert 0 < (shown[1, 0] < 128).mean() < 0.5  # black letters on white
    assert not np.array_equal(shown[1, 0], shown[2, 0])


def test_a_second_run_shows_what_was_there_already_and_replaces_its_sheet(tiny_bundle, photos, tmp_path):
    sheet = tmp_path / "out" / "sheet.png"
    translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=sheet)
    first = sheet.read_bytes()
    report, _ = translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=sheet)
    assert report.skipped == 3
    assert sheet.read_bytes() == first


def test_more_images_than_a_sheet_holds_continue_on_further_sheets(
    tiny_bundle, photos, references, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "LONGEST", 3 * SIDE)
    monkeypatch.setattr(module, "LARGEST", 3 * SIDE * 3 * SIDE)
    translate(tiny_bundle, photos, tmp_path, ref=references, sheet=tmp_path / "sheet.png")
    shapes = [tiles(tmp_path / f"sheet{number}.png").shape[:2] for number in ("", "-2", "-3", "-4")]
    assert shapes == [(3, 3), (3, 2), (2, 3), (2, 2)]  # two images in two styles at most, three of each in all
    np.testing.assert_array_equal(tiles(tmp_path / "sheet-2.png")[0, 1], draw(2))
    np.testing.assert_array_equal(tiles(tmp_path / "sheet-3.png")[1, 0], draw(12))


def test_what_a_user_has_there_is_not_replaced(tiny_bundle, photos, tmp_path):
    write_image(tmp_path / "sheet.png", draw(0))
    before = (tmp_path / "sheet.png").read_bytes()
    with pytest.raises(OptionError, match="already exists.*--overwrite"):
        translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes() == before
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match="is a source"):
        translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=photos / "0.png", overwrite=True)
    with pytest.raises(OptionError, match="end it in"):
        translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=tmp_path / "sheet.gif")


def test_a_source_that_cannot_be_read_stays_white_and_the_others_are_shown(tiny_bundle, photos, tmp_path):
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:200])
    report, _ = translate(tiny_bundle, photos, tmp_path, domain="cat", sheet=tmp_path / "sheet.png")
    shown = tiles(tmp_path / "sheet.png")
    assert len(report.failed) == 1
    assert (shown[1, 2] == 255).all()
    np.testing.assert_array_equal(shown[1, 3], read_image(tmp_path / "out" / "2.png"))


@pytest.mark.parametrize("suffix", WRITTEN_SUFFIXES)
@pytest.mark.parametrize(("images", "styles"), [(2000, 3), (1, 2000), (2000, 2000), (1, 1)])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 36), (1024, 1024)])
def test_every_sheet_is_small_enough_for_its_format(suffix, images, styles, size):
    columns, rows = module.tiles_of(images, styles, size)
    assert 1 <= columns <= images
    assert 1 <= rows <= styles
    assert why_too_large(suffix, ((rows + 1) * size[0], (columns + 1) * size[1])) is None
