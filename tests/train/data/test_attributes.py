"""Lists of attributes in the forms that there are, and what is wrong with those that cannot be used."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from starcast.errors import DatasetError
from starcast.train.data.attributes import find_list, read_listed, read_table

CELEBA = """3
Bald Male Young
000001.jpg -1  1  1
000002.jpg  1 -1 -1
000003.jpg -1 -1  1
"""
FORMS = {
    "celeba": CELEBA,
    "without a count": CELEBA.partition("\n")[2],
    "the first column named": CELEBA.replace("Bald", "image_id Bald"),
    "csv": "image_id,Bald,Male,Young\n000001.jpg,-1,1,1\n000002.jpg,1,-1,-1\n000003.jpg,-1,-1,1\n",
    "csv of 0 and 1": ",Bald,Male,Young\n000001.jpg,0,1,1\n000002.jpg,1,0,0\n000003.jpg,0,0,1\n",
    "csv of words": 'file;Bald;Male;Young\n"000001.jpg";no;YES;yes\n000002.jpg;1.0;false;0\n000003.jpg;0;0;True\n',
    "tabs": CELEBA.replace(" -1", "\t-1").replace("  1", "\t1").replace(" 1", "\t1").replace(" ", "\t"),
    "windows": "\ufeff" + CELEBA.replace("\n", "\r\n") + "\r\n\r\n",
}


def listed(tmp_path, text, names=("Male", "Young"), images=("000001.jpg", "000002.jpg", "000003.jpg")):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8", newline="")
    folder = tmp_path / "images"
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    return read_listed(tmp_path / "list.txt", folder, names)


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_of_a_list_says_the_same(tmp_path, text):
    (tmp_path / "list").write_text(text, encoding="utf-8", newline="")
    table = read_table(tmp_path / "list", ("Young", "Bald"))
    assert table.files == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert table.values.tolist() == [[True, False], [False, True], [True, False]]
    assert table.notes == ()


def test_names_may_have_spaces(tmp_path):
    (tmp_path / "list").write_text("Male\nmy photo 1.jpg -1\nb.jpg 1\n")
    assert read_table(tmp_path / "list", ("Male",)).files == ("my photo 1.jpg", "b.jpg")


def test_other_columns_may_hold_anything(tmp_path):
    (tmp_path / "list").write_text("file,caption,Male\na.jpg,somebody,1\n")
    assert read_table(tmp_path / "list", ("Male",)).values.tolist() == [[True]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no list of attributes"),
        ("\0\1\2\n\3", "is no list of attributes"),
        ("Bald Male Young\n", "is no list of attributes"),
        (CELEBA.replace("Male", "Sex"), "has no attribute 'Male': there are Bald, Sex, Young"),
        (CELEBA.replace("Bald", "Male"), "has the attribute Male twice"),
        (CELEBA.replace("000002.jpg  1 -1 -1", "000002.jpg  1"), "has 1 attributes in line 4 instead of 3"),
        (CELEBA.replace("000003.jpg -1 -1", "000003.jpg -1  7"), "has '7' for Male in line 5: write 1 or -1"),
        (CELEBA + "000001.jpg -1 -1 1\n", "names 000001.jpg again in line 6, with other attributes"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_in_a_sentence(tmp_path, text, sentence):
    with pytest.raises(DatasetError, match=sentence):
        listed(tmp_path, text)


@pytest.mark.parametrize(
    "images",
    [
        ("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg", "img_align_celeba/000003.jpg"),
        ("000001.png", "000002.png", "000003.png"),
    ],
    ids=["as torchvision leaves them", "as PNG"],
)
def test_images_are_found_in_subfolders_and_with_other_suffixes(tmp_path, images):
    found = listed(tmp_path, CELEBA, images=images)
    assert [path.relative_to(tmp_path / "images").as_posix() for path in found.training] == list(images)
    assert found.notes == ()


def test_an_image_that_could_be_two_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="has several images of the name 000001.jpg"):
        listed(tmp_path, CELEBA, images=("a/000001.jpg", "b/000001.jpg", "000002.jpg", "000003.jpg"))


def test_what_is_left_out_is_said(tmp_path):
    text = FORMS["without a count"] + "000003.jpg -1 -1 1\n"
    found = listed(tmp_path, text, images=("000001.jpg", "000003.jpg", "more.jpg"))
    assert [path.name for path in found.training] == ["000001.jpg", "000003.jpg"]
    assert found.labels.tolist() == [[1, 1], [0, 1]]
    assert list(found.notes) == [
        "list.txt: 1 rows repeat earlier ones",
        "list.txt: 1 of its 3 images are not there, such as 000002.jpg",
        "images: 1 images are not used, such as more.jpg, because list.txt does not name them",
        "list.txt: every image has the attribute Young, so it cannot be learnt",
    ]
    assert found.describe()[0] == "2 attributes of 2 images: Male (1), Young (2)"


def test_a_list_that_is_cut_off_is_noticed(tmp_path):
    found = listed(tmp_path, CELEBA.replace("3\n", "202599\n", 1))
    assert found.notes == ("list.txt says that it has 202,599 rows, but has 3: it may be truncated",)


def test_a_folder_without_the_images_is_named(tmp_path):
    with pytest.raises(DatasetError, match="has none of the 3 images of .*list.txt, such as 000001.jpg"):
        listed(tmp_path, CELEBA, images=("other.jpg",))


def test_the_first_rows_of_the_official_shuffle_are_held_out(tmp_path):
    """Python's generator with seed 1234, as the original; of a short list at most a tenth."""
    names = [f"{number:06d}.jpg" for number in range(40)]
    text = "Male\n" + "".join(f"{name} {(-1) ** number}\n" for number, name in enumerate(names))
    found = listed(tmp_path, text, ("Male",), names)
    random.seed(1234)
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(path.name for path in found.held_out) == sorted(shuffled[:4])
    assert len(found.training) == 36
    for paths, labels in ((found.training, found.labels), (found.held_out, found.held_out_labels)):
        np.testing.assert_array_equal(labels[:, 0], [int(path.stem) % 2 == 0 for path in paths])


@pytest.mark.parametrize("place", ["celeba", "celeba/img_align_celeba"])
def test_celebas_list_is_found_where_torchvision_leaves_it(tmp_path, place):
    (tmp_path / "celeba/img_align_celeba").mkdir(parents=True)
    (tmp_path / "celeba/list_attr_celeba.txt").write_text(CELEBA)
    assert find_list(tmp_path / place) == tmp_path / "celeba/list_attr_celeba.txt"


def test_where_there_is_none_the_flag_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match="give one with --list"):
        find_list(tmp_path / "photos")
