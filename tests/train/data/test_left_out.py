"""What is said before the first step: the domains with their images, and what is left out of the folder and why."""

from __future__ import annotations

import pytest
from PIL import Image, ImageCms

from starcast.errors import DatasetError
from starcast.train.data.folders import scan, scan_for_training
from starcast.train.data.left_out import describe_data_set


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked at")
    return root


def test_domains_are_listed_with_their_images(tmp_path):
    touch(tmp_path, "cat/1.png", "cat/val/2.png", "dog/1.png", "dog/2.png")
    assert describe_data_set(scan(tmp_path)) == ["2 domains: cat (1 image, 1 more held out), dog (2 images)"]


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".gif", ".avif", ".jp2", ".ppm", ".tga", ".MPO"])
def test_training_reads_the_formats_that_translate_reads(tmp_path, suffix):
    touch(tmp_path, "cat/1.png", f"cat/2{suffix}")
    assert describe_data_set(scan(tmp_path)) == ["1 domain: cat (2 images)"]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["cat/old/1.png"], "cat: 1 image in subfolders (old) is not used: move it into cat itself"),
        (
            ["cat/a/1.png", "cat/b/2.png", "cat/c/d/3.gif", "cat/e/4.jpg"],
            "cat: 4 images in subfolders (a, b, c and 1 more) are not used: move them into cat itself",
        ),
        (
            ["cat/x.svg"],
            "cat: 1 image is not used, such as x.svg, because the format cannot be read: save it as PNG or JPEG",
        ),
        (["cat/notes.txt", "cat/more.txt"], "cat: 2 entries are not used, such as more.txt"),
        (["cat/@eaDir/1.png/thumb.jpg"], "cat: @eaDir is not used, which a system or a program made"),
        (
            ["@eaDir/1.png", "__MACOSX/cat/._1.png"],
            "pets: @eaDir, __MACOSX are not used, which systems and programs made",
        ),
        (["loose.jpg"], "pets: 1 image is not used: move it into the folder of a domain"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named_with_the_reason(tmp_path, names, line):
    data_set = scan(touch(tmp_path / "pets", "cat/0.png", "dog/0.png", *names))
    assert describe_data_set(data_set) == ["2 domains: cat (1 image), dog (1 image)", line]


def test_hidden_folders_are_neither_domains_nor_mentioned(tmp_path):
    touch(tmp_path, "cat/0.png", ".git/objects/1.png", ".ipynb_checkpoints/2.png")
    assert describe_data_set(scan(tmp_path)) == ["1 domain: cat (1 image)"]


def test_cyclegan_layouts_have_the_domains_a_and_b(tmp_path):
    touch(tmp_path, "trainA/1.jpg", "trainA/2.jpg", "trainB/1.jpg", "testA/3.jpg", "testB/2.jpg", "__MACOSX/x.jpg")
    data_set = scan_for_training(tmp_path)
    assert data_set.names == ("A", "B")
    assert describe_data_set(data_set)[0] == "2 domains: A (2 images, 1 more held out), B (1 image, 1 more held out)"
    assert [path.parent.name for path in data_set.domains[1].training] == ["trainB"]


@pytest.mark.parametrize("names", [["trainA/1.png", "trainees/1.png"], ["trainA/1.png", "testA/1.png"]])
def test_domains_whose_names_only_look_like_it_stay(tmp_path, names):
    assert scan(touch(tmp_path, *names)).names == tuple(sorted(name.partition("/")[0] for name in names))


def test_splits_that_hold_the_images_themselves_are_no_domains(tmp_path):
    touch(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(DatasetError, match="has no domains, only test, train: put a subfolder for each"):
        scan(tmp_path)
    assert scan(tmp_path, ("test", "train")).names == ("test", "train")


@pytest.mark.parametrize("split", ["valid", "validation"])
def test_other_words_for_validation_are_held_out(tmp_path, split):
    touch(tmp_path / "one", "train/cat/1.png", f"{split}/cat/2.png")
    touch(tmp_path / "two", "cat/train/1.png", f"cat/{split}/2.png")
    for place in ("one", "two"):
        assert describe_data_set(scan(tmp_path / place)) == ["1 domain: cat (1 image, 1 more held out)"]


def test_a_folder_above_the_data_set_says_so(tmp_path):
    touch(tmp_path, "pets/cat/1.png", "pets/dog/2.png")
    with pytest.raises(DatasetError, match="'pets' has no training image: move up the 2 .*, or give pets itself"):
        scan_for_training(tmp_path)


def test_files_of_several_images_are_counted_before_training(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for name in ("cat/a.gif", "cat/b.webp", "cat/c.png", "dog/d.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        frames[0].save((tmp_path / name).with_stem("still"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames[0].save(tmp_path / "cat/long-header.png", icc_profile=profile)  # its pixels begin late
    assert describe_data_set(scan(tmp_path))[1:] == [
        "cat: 3 files hold several frames or pages (a.gif, b.webp, c.png), and only the first image of each is used",
        "dog: 1 file holds several frames or pages (d.tif), and only its first image is used",
    ]
