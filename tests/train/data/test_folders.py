"""The scanner: layouts, order, what is left out, and the sentences for folders that cannot be trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from starcast.errors import DatasetError
from starcast.train.data.folders import scan, scan_for_training


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked at")
    return root


def files(paths) -> list[str]:
    return [path.name for path in paths]


def test_every_subfolder_is_a_domain_in_alphabetical_order(tmp_path):
    data_set = scan(touch(tmp_path, "ink/b.png", "ink/a.jpg", "cat/x.webp"))
    assert data_set.names == ("cat", "ink")
    assert files(data_set.domains[1].training) == ["a.jpg", "b.png"]


def test_the_users_order_of_domains_is_kept_and_selects(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    assert scan(tmp_path, ("c", "a")).names == ("c", "a")


def test_split_folders_inside_a_domain_are_training_and_held_out(tmp_path):
    touch(tmp_path, "cat/train/1.png", "cat/val/2.png", "cat/test/3.png", "dog/1.png", "dog/test/2.png")
    cat, dog = scan(tmp_path).domains
    assert (files(cat.training), files(cat.held_out)) == (["1.png"], ["2.png", "3.png"])
    assert (files(dog.training), files(dog.held_out)) == (["1.png"], ["2.png"])


def test_a_domain_with_a_comma_in_its_name_can_be_chosen(tmp_path):
    touch(tmp_path, "a,b/1.png", "c/1.png", "d/1.png")
    assert scan(tmp_path, ("c", "a", "b")).names == ("c", "a,b")


def test_domains_inside_split_folders_are_read_as_the_official_sets_lie(tmp_path):
    touch(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "val/dog/2.png")
    cat, dog = scan(tmp_path).domains
    assert (cat.name, files(cat.training), files(cat.held_out)) == ("cat", ["1.png"], ["2.png"])
    assert (dog.name, files(dog.training), files(dog.held_out)) == ("dog", ["1.png"], ["2.png"])


@pytest.mark.parametrize("inside", ["train/1.png", "train/train/1.png"])
def test_a_domain_may_be_called_train(tmp_path, inside):
    touch(tmp_path, inside, "plane/1.png")
    assert scan(tmp_path).names == ("plane", "train")
    assert files(scan(tmp_path).domains[1].training) == ["1.png"]


def test_extensions_count_in_any_case_and_other_files_do_not(tmp_path):
    names = ["a.JPG", "b.jpeg", "c.PNG", "d.webp", "e.bmp", "f.tif", "g.TIFF"]
    touch(tmp_path, *(f"cat/{name}" for name in names), "cat/notes.txt", "cat/h.psd", "readme.md")
    data_set = scan(tmp_path)
    assert files(data_set.domains[0].training) == names
    assert files(data_set.domains[0].unused) == ["h.psd", "notes.txt"]
    assert files(data_set.unused) == ["readme.md"]


def test_hidden_entries_are_not_there(tmp_path):
    touch(tmp_path, "cat/1.png", "cat/._1.png", ".cache/2.png", "cat/.partial-3.png")
    data_set = scan(tmp_path)
    assert data_set.names == ("cat",)
    assert files(data_set.domains[0].training) == ["1.png"]
    assert not data_set.unused
    assert not data_set.domains[0].unused


def test_the_summary_changes_when_a_training_image_comes(tmp_path):
    touch(tmp_path, "cat/1.png", "dog/1.png")
    before = scan(tmp_path).summary()
    assert (before["name"], before["domains"], before["training"]) == (tmp_path.name, ["cat", "dog"], [1, 1])
    touch(tmp_path, "cat/2.png")
    assert scan(tmp_path).summary()["listing"] != before["listing"]


@pytest.mark.parametrize(
    ("layout", "names", "sentence"),
    [
        ([], (), "has no subfolder"),
        (["1.png", "2.png"], (), "has no subfolder"),
        (["cat/1.png", "dog/notes.txt"], (), "'dog' has no training image: add some .* --domains cat$"),
        (["cat/test/1.png"], (), "'cat' has no training image"),
        (["cat/1.png"], ("cat", "bird"), "no domain 'bird': there are cat"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused_in_one_sentence(tmp_path, layout, names, sentence):
    touch(tmp_path, *layout)
    with pytest.raises(DatasetError, match=sentence):
        scan_for_training(tmp_path, names)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        scan(tmp_path / "nowhere")
