"""`starcast dataset check`: what is counted, what is said, and when training would fail."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from starcast.train.cli import dataset
from starcast.train.data.check import check_data_set
from starcast.train.data.folders import scan


def noise(number: int, side: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Two domains of two good images each."""
    for domain in ("cat", "dog"):
        (tmp_path / domain).mkdir()
        for number in range(2):
            noise(10 * len(list(tmp_path.iterdir())) + number).save(tmp_path / domain / f"{number}.png")
    return tmp_path


def check(folder, image_size=32):
    return check_data_set(scan(folder), image_size)


def run(folder, *arguments):
    return CliRunner().invoke(dataset, ["check", str(folder), *arguments], standalone_mode=False)


def test_a_good_folder_has_no_problems(folder):
    report = check(folder)
    assert (report.problems, report.failures) == ((), ())
    assert [(row.name, row.training, row.median) for row in report.rows] == [("cat", 2, (40, 40)), ("dog", 2, (40, 40))]
    assert run(folder, "--image-size", "32").return_value == 0


def test_unreadable_files_are_named(folder):
    (folder / "cat" / "2.png").write_bytes(b"hello")
    report = check(folder)
    assert report.rows[0].unreadable == 1
    assert len(report.problems) == 1
    assert "2.png is a text file: give PNG, JPEG" in report.problems[0]
    assert not report.failures


def test_too_small_files_are_counted_with_the_worst_named(folder):
    noise(7, side=20).save(folder / "dog" / "small.png")
    (problem,) = check(folder, image_size=32).problems
    assert problem == "dog: 1 image is smaller than 32 x 32 and will be enlarged, small.png from 20 x 20"


def test_copies_and_equal_pixels_are_distinguished(folder):
    (folder / "dog" / "copy.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    Image.open(folder / "cat" / "1.png").save(folder / "cat" / "again.bmp")
    assert sorted(check(folder).problems) == [
        "cat/0.png, dog/copy.png are the same file",
        "cat/1.png, cat/again.bmp hold the same pixels",
    ]
    assert [row.duplicates for row in check(folder).rows] == [1, 0]


def test_grey_and_transparent_images_are_mentioned(folder):
    noise(8).convert("L").save(folder / "cat" / "grey.png")
    noise(9).convert("RGBA").save(folder / "cat" / "clear.png")
    assert [problem.split(",")[0] for problem in check(folder).problems] == [
        "cat: 1 image is grey",
        "cat: 1 image is with transparency",
    ]


def test_a_single_training_image_is_pointed_out(folder):
    (folder / "cat" / "1.png").unlink()
    assert "only one training image" in check(folder).problems[0]


@pytest.mark.parametrize("content", [None, b"hello"])
def test_a_domain_that_cannot_be_trained_on_gives_status_1(folder, content):
    (folder / "bird").mkdir()
    if content is not None:
        (folder / "bird" / "x.png").write_bytes(content)
    result = run(folder)
    assert result.return_value == 1
    assert "bird" in result.stderr
    assert run(folder, "--domains", "dog,cat").return_value == 0


def test_a_folder_without_domains_gives_status_1(tmp_path):
    result = run(tmp_path)
    assert result.return_value == 1
    assert "has no subfolder" in result.stderr


def test_the_table_has_a_row_a_domain(folder):
    lines = run(folder).stdout.splitlines()
    assert lines[0].split()[:2] == ["domain", "training"]
    assert [line.split()[:2] for line in lines[2:4]] == [["cat", "2"], ["dog", "2"]]


def test_entries_that_no_layout_knows_are_mentioned(folder):
    (folder / "readme.md").write_text("x")
    (folder / "cat" / "more").mkdir()
    assert [problem.partition(": ")[2] for problem in check(folder).problems] == [
        "1 entry is not used, such as readme.md",
        "1 entry is not used, such as more",
    ]


def test_a_file_of_several_images_is_named(folder):
    noise(5).save(folder / "cat" / "moving.gif", save_all=True, append_images=[noise(6)])
    assert check(folder).problems[0].partition("moving.gif ")[2] == (
        "is animated, and only the first of its 2 frames is used (`starcast video` takes all)"
    )
