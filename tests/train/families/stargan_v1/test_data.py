"""What a step sees, and what sample grids show: images by list, by folders, or both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.errors import DatasetError, OptionError
from starcast.options import replace_options
from starcast.train.families.stargan_v1.batches import (
    LabelledBatches,
    sample_transform,
    scan,
    training_transform,
    whole_labels,
)
from starcast.train.families.stargan_v1.options import StarGANv1Data, StarGANv1Options
from starcast.train.families.stargan_v1.samples import grids, sample_inputs
from starcast.train.samples import to_pixels
from starcast.train.state import fresh_state

NAMES = ("Blond_Hair", "Black_Hair", "Male")
ROWS = {f"{number}.png": [number % 2, number // 2 % 2, number // 4 % 2] for number in range(8)}


@pytest.fixture
def faces(tmp_path):
    """Eight images of plain colours, whose red says which attributes the list gives them: 100, 101, …"""
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = [str(len(ROWS)), " ".join(("Bald", *NAMES))]
    for number, (name, row) in enumerate(ROWS.items()):
        Image.new("RGB", (20, 24), (100 + number, 50, 200)).save(folder / name)
        lines.append(" ".join([name, "-1", *(str(2 * value - 1) for value in row)]))
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return folder


def batches_of(path, options):
    return LabelledBatches(scan(path, options), options)


def reds(images):
    """The red of plain images as the number of each."""
    return (images[:, 0].flatten(1).float().median(1).values - 100).int().tolist()


def test_images_come_with_the_labels_of_the_list_and_once_in_every_pass(faces, small):
    options = replace_options(small, attributes=NAMES, batch_size=4, d_steps=2)
    dataset = batches_of(faces, options)
    for step in range(3):
        batch = dataset[step].batch
        shown = reds(batch.source)
        assert sorted(shown) == list(range(8))  # two updates of four
        assert batch.labels.tolist() == [ROWS[f"{number}.png"] for number in shown]
        for update in batch.split(2):
            assert sorted(update.target.tolist()) == sorted(update.labels.tolist())
        assert ((batch.alpha >= 0) & (batch.alpha < 1)).all()
        assert tuple(batch.alpha.shape) == (8, 1, 1, 1)


def test_the_order_of_attributes_is_the_one_asked_for(faces, small):
    batch = batches_of(faces, replace_options(small, attributes=("Male", "Blond_Hair")))[0].batch
    assert batch.labels.tolist() == [[ROWS[f"{n}.png"][2], ROWS[f"{n}.png"][0]] for n in reds(batch.source)]


def test_an_unreadable_image_is_replaced_together_with_its_labels(faces, small):
    for number in range(7):
        (faces / f"{number}.png").write_bytes(b"no image")
    drawn = batches_of(faces, replace_options(small, attributes=NAMES))[0]
    assert len(drawn.unreadable) >= 1
    assert reds(drawn.batch.source) == [7] * 4
    assert drawn.batch.labels.tolist() == [[1, 1, 1]] * 4


def test_folders_are_classes_of_which_each_image_has_one(images, small):
    batch = batches_of(images, replace_options(small, batch_size=11, d_steps=1))[0].batch
    assert batch.labels.sum(0).tolist() == [4, 7]
    assert batch.labels.sum(1).tolist() == [1] * 11


def test_both_sets_alternate_and_say_which_they_are(faces, images, small):
    options = replace_options(
        small, attributes=NAMES, attribute_list=faces.parent / "list_attr_celeba.txt", list_images=faces
    )
    data_set = scan(images, options)
    assert data_set.names == (*NAMES, "ink", "photo")
    batch = LabelledBatches(data_set, options)[0].batch
    assert batch.labels[:, 5:].tolist() == 2 * [*([[1, 0]] * 2), *([[0, 1]] * 2)]
    by_list, by_folder = batch.labels[[0, 1, 4, 5]], batch.labels[[2, 3, 6, 7]]
    assert not by_list[:, 3:5].any()
    assert not by_folder[:, :3].any()
    assert by_folder[:, 3:5].sum(1).tolist() == [1] * 4
    assert torch.equal(batch.target[:, 5:], batch.labels[:, 5:])


def test_a_class_and_an_attribute_of_one_name_are_refused(faces, images, small):
    (images / "ink").rename(images / "Male")
    options = replace_options(
        small, attributes=NAMES, attribute_list=faces.parent / "list_attr_celeba.txt", list_images=faces
    )
    with pytest.raises(DatasetError, match="has the folder Male, which is an attribute, too: rename the folder"):
        scan(images, options)


def test_label_vectors_of_two_sets():
    assert whole_labels(np.ones((1, 2), np.float32), False, 2, 3).tolist() == [[1, 1, 0, 0, 0, 1, 0]]
    assert whole_labels(np.ones((1, 3), np.float32), True, 2, 3).tolist() == [[0, 0, 1, 1, 1, 0, 1]]
    assert whole_labels(np.ones((1, 3), np.float32), True, 0, 3).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("height", "width", "crop"), [(218, 178, 178), (218, 178, None), (60, 90, 40), (40, 31, 50)])
def test_the_centre_is_cropped_and_resized_as_the_original_does(height, width, crop):
    """Pillow's own crop and bilinear resize; of an image smaller than the crop, the largest square."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [128 + 120 * np.sin(rows / a + columns / b) for a, b in ((5, 9), (11, 4), (7, 7))]
    pixels = torch.from_numpy(np.stack(planes).astype(np.uint8))
    side = min(height, width, crop or height)
    left, top = round((width - side) / 2), round((height - side) / 2)
    box = (left, top, left + side, top + side)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy()).crop(box).resize((32, 32), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).int()
    data = StarGANv1Data(crop_size=crop)
    assert (sample_transform(data, 32)(pixels).int() - expected).abs().max() <= 1
    mirrored = 0
    for _ in range(20):
        shown = training_transform(data, 32)(pixels).int()
        straight, flipped = ((shown - image).abs().max() <= 1 for image in (expected, expected.flip(2)))
        mirrored += bool(flipped)
        assert straight or flipped or width % 2 != side % 2  # an uneven margin moves the mirror image by a pixel
    assert 3 <= mirrored <= 17 or width % 2 != side % 2


def test_the_grid_has_a_row_for_each_source_and_a_column_for_each_target(faces, small):
    options = replace_options(small, attributes=NAMES)
    data_set = scan(faces, options)
    inputs = sample_inputs(data_set, options)
    assert tuple(inputs.targets.shape) == (3, 8, 3)
    for source, target in zip(reds(to_pixels(inputs.sources)), inputs.targets.transpose(0, 1).tolist(), strict=True):
        blond, black, male = ROWS[f"{source}.png"]
        assert target == [[1, 0, male], [0, 1, male], [blond, black, 1 - male]]
    averaged = fresh_state(options, 3).averaged
    grid = grids(averaged, averaged, inputs)["labels"]
    assert tuple(grid.shape) == (3, 8 * 18 + 2, 4 * 18 + 2)
    assert torch.equal(grid[:, 20:36, 2:18], to_pixels(inputs.sources[1]))
    with torch.inference_mode():
        expected = to_pixels(averaged.generator(inputs.sources[1:2], inputs.targets[2][1:2]))[0]
    assert (grid[:, 20:36, 56:72].int() - expected.int()).abs().max() <= 1


def test_the_grid_of_folders_takes_each_in_turn_and_shows_every_class(images, small):
    inputs = sample_inputs(scan(images, small), small)
    assert tuple(inputs.sources.shape) == (8, 3, 16, 16)
    assert inputs.targets.tolist() == [[[1, 0]] * 8, [[0, 1]] * 8]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"attributes": ("Male", "Male")}, "names one twice"),
        ({"attribute_list": "list.txt"}, "say with --attributes which to train"),
        ({"attributes": ("Male",), "domains": ("ink",)}, "exclude each other"),
        ({"image_size": 30}, "multiple of 4"),
        ({"steps": 50_000}, "nothing after step 40000.*--decay-start 30000"),
        ({"steps": 50_000, "decay_start": 5_000, "decay_steps": 0}, None),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(values, sentence):
    if sentence is None:
        replace_options(StarGANv1Options(), **values)
        return
    with pytest.raises(OptionError, match=sentence):
        replace_options(StarGANv1Options(), **values)
