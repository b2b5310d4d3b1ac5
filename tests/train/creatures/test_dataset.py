from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import DatasetError, OptionError
from starcast.train.creatures import dataset
from starcast.train.creatures.coats import DOMAINS
from starcast.train.creatures.dataset import creature_of, make_dataset, read_facts
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.options import CreatureOptions
from starcast.train.data.folders import scan
from starcast.train.data.left_out import list_left_out

SMALL = {"image_size": 32, "train_images": 3, "val_images": 2, "video_seconds": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("creatures") / "set", CreatureOptions(**SMALL))


@pytest.fixture
def out(made, tmp_path):
    """A copy of the set, alone in its folder."""
    return Path(shutil.copytree(made.folder, tmp_path / "set"))


def images_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def test_the_folder_has_the_layout_that_training_reads(made):
    names = [
        f"{domain}/{split}/{index:05}.png"
        for domain in ("checked", "spotted", "striped")
        for split, count in (("train", 3), ("val", 2))
        for index in range(count)
    ]
    assert sorted(images_of(made.folder)) == sorted(names)
    assert made.images == len(names)
    assert made.domains == ("checked", "spotted", "striped")
    assert made.video == made.folder / "creature.mp4"
    assert made.video.stat().st_size > 0


def test_the_facts_draw_every_held_out_image_again(made):
    size, facts = read_facts(made.folder)
    assert size == 32
    for domain in DOMAINS:
        assert len(facts[domain]) == 2
        for held_out in facts[domain]:
            with Image.open(made.folder / held_out.file) as image:
                assert np.array_equal(np.asarray(image), draw_creature(held_out.pose, held_out.coat, size)[0])


def test_equal_options_give_equal_images_and_another_seed_gives_others(made, tmp_path):
    again = make_dataset(tmp_path / "again", CreatureOptions(**SMALL))
    other = make_dataset(tmp_path / "other", CreatureOptions(**SMALL, seed=1))
    assert images_of(again.folder) == images_of(made.folder)
    assert not set(images_of(other.folder).values()) & set(images_of(made.folder).values())


def test_more_images_leave_the_first_ones_as_they_were(made, tmp_path):
    more = make_dataset(tmp_path / "more", CreatureOptions(**{**SMALL, "train_images": 4}))
    assert images_of(made.folder).items() <= images_of(more.folder).items()


def test_no_two_places_share_a_creature():
    creatures = [
        creature_of(0, domain, split, index) for domain in DOMAINS for split in ("train", "val") for index in range(20)
    ]
    assert len({pose for pose, _ in creatures}) == len(creatures)


def test_progress_counts_to_all_images(tmp_path):
    seen = []
    make_dataset(tmp_path / "set", CreatureOptions(**SMALL), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(done, 15) for done in range(1, 16)]


def test_a_set_that_is_there_is_refused_unless_it_may_be_replaced(out, tmp_path):
    first = images_of(out)
    with pytest.raises(DatasetError, match="choose another -o, or give --overwrite"):
        make_dataset(out, CreatureOptions(**SMALL, seed=1))
    assert images_of(out) == first
    make_dataset(out, CreatureOptions(**SMALL, seed=1, overwrite=True))
    assert images_of(out) != first
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(DatasetError, match="not a set of creatures"):
        make_dataset(tmp_path, CreatureOptions(**SMALL, overwrite=overwrite))
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


@pytest.mark.parametrize(
    "added",
    ["notes.txt", "striped/train/mine.png", "striped/train/00099.png", "striped/test/00000.png", "cats/1.png", "a"],
)
def test_a_set_with_files_that_somebody_added_is_not_replaced(out, added):
    (out / added).parent.mkdir(exist_ok=True)
    (out / added).write_bytes(b"mine")
    (out / ".DS_Store").write_bytes(b"")
    with pytest.raises(
        DatasetError, match=r"in the way \(no file of this set, which replacing the set would delete\): move it"
    ):
        make_dataset(out, CreatureOptions(**SMALL, seed=1, overwrite=True))
    assert (out / added).read_bytes() == b"mine"
    (out / added).unlink()
    with contextlib.suppress(OSError):
        (out / added).parent.rmdir()
    make_dataset(out, CreatureOptions(**SMALL, seed=1, overwrite=True))


@pytest.mark.parametrize("facts", [b"", b"{}", b'{"options": 1, "domains": []}', b"[" * 10**5, b"\xff"])
def test_facts_that_are_no_sets_allow_no_overwrite(tmp_path, facts):
    (tmp_path / "creatures.json").write_bytes(facts)
    with pytest.raises(DatasetError, match="not a set of creatures"):
        make_dataset(tmp_path, CreatureOptions(**SMALL, overwrite=True))
    assert (tmp_path / "creatures.json").read_bytes() == facts


def test_training_on_a_set_lists_none_of_its_own_files(out):
    assert list_left_out(scan(out)) == []
    (out / "notes.txt").write_text("")
    assert list_left_out(scan(out)) == ["set: 1 entry is not used, such as notes.txt"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "set").write_text("")
    with pytest.raises(DatasetError, match="is a file"):
        make_dataset(tmp_path / "set", CreatureOptions(**SMALL))


def test_an_empty_folder_is_filled(tmp_path):
    assert make_dataset(tmp_path, CreatureOptions(**SMALL)).folder == tmp_path.resolve()


def test_an_error_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "write_walk", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_dataset(tmp_path / "set", CreatureOptions(**SMALL))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"options": {"image_size": 64}, "held_out": {"a": [{}]}}'])
def test_facts_that_are_not_facts_are_refused(tmp_path, content):
    (tmp_path / "creatures.json").write_text(content)
    with pytest.raises(DatasetError, match="starcast dataset make"):
        read_facts(tmp_path)


def test_missing_facts_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"creatures\.json"):
        read_facts(tmp_path)


def test_the_facts_name_the_options_that_made_them(made):
    facts = json.loads((made.folder / "creatures.json").read_text())
    assert facts["options"] == {**SMALL, "seed": 0}


def test_an_image_size_that_is_no_power_of_two_is_refused():
    with pytest.raises(OptionError, match="power of two"):
        CreatureOptions(image_size=96)
