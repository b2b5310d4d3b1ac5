"""Domains from a list of attributes: a folder of links that trains as any other."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from PIL import Image

from starcast.cli import root
from starcast.errors import DatasetError, OptionError
from starcast.train.data.attribute_domains import parse_domain
from starcast.train.data.folders import scan_for_training


@pytest.fixture
def celeba(tmp_path):
    """Twenty images as torchvision leaves them; every second one is Male, every fourth Young."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    lines = ["20", "Male Young"]
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:06d}.jpg")
        lines.append(f"{number:06d}.jpg {1 - 2 * (number % 2)} {1 if number % 4 == 0 else -1}")
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "celeba"


def link(celeba, out, *domains):
    flags = [part for domain in domains for part in ("--domain", domain)]
    return CliRunner().invoke(
        root, ["dataset", "attributes", str(celeba), "-o", str(out), *flags], standalone_mode=False
    )


def numbers_of(images):
    return {int(image.stem.rpartition("-")[2]) for image in images}


def test_every_image_is_linked_into_the_domains_that_it_fits(celeba, tmp_path):
    result = link(celeba, tmp_path / "out", "male=Male", "female=!Male", "old_men=Male,!Young")
    assert result.exception is None
    data_set = scan_for_training(tmp_path / "out")
    assert data_set.names == ("female", "male", "old_men")
    female, male, old_men = (
        numbers_of((*domain.training, *domain.held_out)) for domain in data_set.domains
    )  # fmt: skip
    assert female == set(range(1, 20, 2))
    assert male == set(range(0, 20, 2))
    assert old_men == {2, 6, 10, 14, 18}
    held_out = numbers_of(image for domain in data_set.domains for image in domain.held_out)
    assert len(held_out) == 2  # a tenth, the same ones in every domain
    for domain in data_set.domains:
        assert not numbers_of(domain.training) & held_out
        for image in domain.training:
            assert image.samefile(celeba / "img_align_celeba" / f"{min(numbers_of([image])):06d}.jpg")
    assert "Train on them: starcast train" in result.output


def test_a_folder_that_holds_something_stays(celeba, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "already exists: choose another -o" in str(link(celeba, tmp_path / "out", "male=Male").exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_domain_without_images_leaves_no_folder(celeba, tmp_path):
    result = link(celeba, tmp_path / "out", "male=Male", "none=!Male,Young")
    assert isinstance(result.exception, DatasetError)
    assert "is !Male, Young: the domain would be empty" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["male", "male=", "=Male", "a/b=Male", "..=Male", ".hidden=Male", "male=Male,", "m=!"])
def test_a_domain_that_says_too_little_is_refused(text):
    with pytest.raises(OptionError, match="--domain"):
        parse_domain(text)


def test_a_name_that_is_given_twice_is_refused(celeba, tmp_path):
    assert "gives a name twice" in str(link(celeba, tmp_path / "out", "men=Male", "Men=!Male").exception)


def test_an_unknown_attribute_is_answered_with_those_there_are(celeba, tmp_path):
    assert "there are Male, Young" in str(link(celeba, tmp_path / "out", "bald=Bald").exception)
