"""Images of any size and any number of channels become square batches; folders need no domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.errors import DatasetError
from starcast.options import replace_options
from starcast.train.data.left_out import describe_data_set
from starcast.train.families.stylegan2.batches import ImageBatches
from starcast.train.families.stylegan2.data import scan_images
from starcast.train.families.stylegan2.images import as_rgb, read_channels, square_transform, take_off_white
from starcast.train.families.stylegan2.options import StyleGAN2Options

SMALL = replace_options(
    StyleGAN2Options(), image_size=8, latent_dim=4, capacity=2, max_channels=8, batch_size=4, flip=False
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images in the folder and below it, of all kinds, and two held-out ones."""
    places = {".": ("RGB", "L"), "a": ("RGBA",), "a/b": ("RGB",), "train": ("P",), "c": ("RGB",), "val": ("RGB",)}
    kinds = [(place, mode) for place, modes in {**places, "test/d": ("L",)}.items() for mode in modes]
    for number, (place, mode) in enumerate(kinds):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        Image.new(mode, (9 + number, 12), 20 * number).save(tmp_path / place / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_all_images_below_the_folder_train_but_the_held_out(folder: Path) -> None:
    (domain,) = scan_images(folder, SMALL).domains
    assert sorted(path.name for path in domain.training) == [f"{number}.png" for number in range(6)]
    assert sorted(path.name for path in domain.held_out) == ["6.png", "7.png"]


def test_what_is_not_used_is_listed(folder: Path) -> None:
    (folder / "a/old.psd").touch()
    first, *others = describe_data_set(scan_images(folder, SMALL))
    assert first == "6 images, 2 more held out"
    assert len(others) >= 1
    assert any("notes.txt" in line or "2 entries" in line for line in others)


def test_images_that_cannot_be_read_are_replaced(folder: Path) -> None:
    options = replace_options(SMALL, batch_size=6)
    (folder / "0.png").write_bytes(b"no image")
    drawn = ImageBatches(scan_images(folder, options), options)[0]
    assert drawn.batch is not None
    assert len(drawn.unreadable) == 1
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    assert "none of the 6 training images of the folder can be read" in str(
        ImageBatches(scan_images(folder, options), options)[0].failure
    )


def test_a_folder_named_val_can_itself_be_trained_on(folder: Path) -> None:
    assert len(scan_images(folder / "val", SMALL).domains[0].training) == 1


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no training image: add some"):
        scan_images(tmp_path, SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is not a folder: give a folder of images"):
        scan_images(tmp_path / "file", SMALL)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_batches_have_the_channels_and_the_size(folder: Path, channels: int) -> None:
    options = replace_options(SMALL, channels=channels, d_steps=2)
    batch = ImageBatches(scan_images(folder, options), options).draw(0)
    assert batch.image.shape == (8, channels, 8, 8)
    assert batch.image.dtype == torch.uint8
    assert batch.latent.shape == batch.latent2.shape == (16, 4)
    assert batch.cutoff.shape == (16,)


def test_a_batch_is_a_function_of_the_step_alone(folder: Path) -> None:
    one, other = (ImageBatches(scan_images(folder, SMALL), SMALL) for _ in range(2))
    other.draw(5)
    for step in (3, 0):
        a, b = one.draw(step), other.draw(step)
        assert all(torch.equal(x, y) for x, y in zip(a._tensors(), b._tensors(), strict=True))
    assert not torch.equal(one.draw(1).latent, one.draw(2).latent)


def test_every_image_comes_once_in_a_pass(folder: Path) -> None:
    options = replace_options(SMALL, batch_size=2)
    batches = ImageBatches(scan_images(folder, options), options)
    seen = [batches.next_in_turn(step, "images", 6, 2) for step in range(3)]
    assert sorted(np.concatenate(seen)) == list(range(6))


def test_styles_are_mixed_as_often_as_asked(folder: Path) -> None:
    data_set = scan_images(folder, SMALL)
    for probability, expected in ((0.0, 0.0), (1.0, 1.0), (0.9, 0.9)):
        batches = ImageBatches(data_set, replace_options(SMALL, style_mixing=probability))
        cutoffs = np.concatenate([batches._cutoffs(step, 3) for step in range(300)])
        assert cutoffs.min() >= 1
        assert cutoffs.max() <= 4
        assert np.mean(cutoffs < 4) == pytest.approx(expected, abs=0.05)


def test_the_centre_is_cut_out_or_the_image_stretched() -> None:
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[:, :, 2:6] = 200
    assert int(square_transform(4, "crop", flip=False)(image).min()) == 200
    stretched = square_transform(4, "stretch", flip=False)(image)
    assert stretched.shape == (3, 4, 4)
    assert int(stretched.min()) < 100


def test_grey_and_transparent_images_are_read(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 100, 0, 128)).save(tmp_path / "half.png")
    colours = read_channels(tmp_path / "half.png", 4)
    assert colours.shape == (2, 2, 4)
    assert np.abs(colours[0, 0].astype(int) - (200, 100, 0, 128)).max() <= 1
    Image.new("RGB", (2, 2), (200, 100, 0)).save(tmp_path / "solid.png")
    assert read_channels(tmp_path / "solid.png", 4)[0, 0].tolist() == [200, 100, 0, 255]
    grey = read_channels(tmp_path / "solid.png", 1)
    assert grey.shape == (2, 2, 1)
    assert int(grey[0, 0, 0]) == round(0.299 * 200 + 0.587 * 100)
    assert take_off_white(np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1), np.uint8)).tolist() == [[[255] * 3]]


def test_grids_show_all_channels() -> None:
    assert as_rgb(torch.zeros(2, 1, 4, 4)).shape == (2, 3, 4, 4)
    seen = torch.cat([torch.full((1, 3, 1, 1), 0.5), torch.full((1, 1, 1, 1), 1.0)], 1)
    hidden = torch.cat([torch.full((1, 3, 1, 1), 0.5), torch.full((1, 1, 1, 1), -1.0)], 1)
    assert as_rgb(seen).flatten().tolist() == [0.5] * 3
    assert as_rgb(hidden).flatten().tolist() == [0] * 3
