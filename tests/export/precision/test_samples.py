"""Where the images come from, and that none serves two purposes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.export.precision.samples import CalibrationSet, calibration_set, drawn_set
from starcast.images.write import write_image

NAMES = ("ink", "photo", "chalk")


def fill(folder: Path, count: int, shade: int) -> None:
    """Images that tell by their colour which they are."""
    folder.mkdir(parents=True)
    for number in range(count):
        write_image(folder / f"{number:03}.png", np.full((40, 40, 3), (shade, number, 0), np.uint8))


def colours(trials) -> set[tuple[int, ...]]:
    return {tuple(trial.sources[0, 0, 0]) for trial in trials}


@pytest.fixture
def chosen(small):
    """A function (folder or None, remembered=None, seed=0) -> CalibrationSet for the small networks."""

    def choose(folder: Path | None, remembered: str | None = None, seed: int = 0) -> CalibrationSet:
        return calibration_set(small.model, folder, remembered, seed)

    return choose


def purposes(images: CalibrationSet):
    return [colours(images.ranges), colours(images.search), colours(chain(*images.gate.values()))]


def test_no_image_serves_two_purposes(chosen, tmp_path):
    for shade, name in enumerate(NAMES):
        fill(tmp_path / "set" / name, 40, shade)
    images = chosen(tmp_path / "set")
    ranges, search, gate = purposes(images)
    assert (len(ranges), len(search), len(gate)) == (64, 16, 16)
    assert not ranges & search
    assert not ranges & gate
    assert not search & gate
    assert tuple(images.gate) == NAMES
    assert {trial.sources.shape for trial in images.ranges} == {(1, 32, 32, 3)}


def test_the_gate_takes_what_the_training_has_not_seen(chosen, tmp_path):
    for shade, name in enumerate(NAMES):
        fill(tmp_path / "train" / name, 15, shade)
        fill(tmp_path / "val" / name, 7, 100 + shade)
    ranges, search, gate = purposes(chosen(tmp_path))
    assert {colour[0] for colour in gate} <= {100, 101, 102}
    assert {colour[0] for colour in ranges | search} <= {0, 1, 2}


def test_of_few_images_each_purpose_gets_its_part(chosen, tmp_path):
    fill(tmp_path / "photos", 24, 0)
    assert [len(part) for part in purposes(chosen(tmp_path / "photos"))] == [16, 4, 4]


def test_the_same_seed_chooses_the_same_images_and_styles(chosen, tmp_path):
    fill(tmp_path / "photos", 30, 0)
    one, same, other = (chosen(tmp_path / "photos", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal([trial.styles for trial in one.ranges], [trial.styles for trial in same.ranges])
    assert purposes(one) == purposes(same)
    assert purposes(one) != purposes(other)


def test_styles_of_references_are_among_them_where_the_folder_has_the_domains(chosen, small, tmp_path):
    for shade, name in enumerate(NAMES):
        fill(tmp_path / "set" / name, 10, 50 * shade)
    seen: list[int] = []
    encoder = small.networks.style_encoder
    hook = encoder.register_forward_pre_hook(lambda _, inputs: seen.append(int(inputs[1][0])))
    try:
        images = chosen(tmp_path / "set")
    finally:
        hook.remove()
    trials = len(images.ranges) + len(images.search) + sum(map(len, images.gate.values()))
    assert set(seen) == {0, 1, 2}
    assert trials / 2 - 3 <= len(seen) <= trials / 2


def test_a_damaged_image_is_left_out(chosen, tmp_path):
    fill(tmp_path / "photos", 20, 0)
    (tmp_path / "photos" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    assert sum(map(len, purposes(chosen(tmp_path / "photos")))) == 20


def test_the_training_set_that_the_checkpoint_remembers_is_taken(chosen, tmp_path):
    for name in NAMES:
        fill(tmp_path / "set" / name, 8, 0)
    assert chosen(None, str(tmp_path / "set")).ranges


@pytest.mark.parametrize(("folder", "remembered", "words"), [
    (None, None, "as the checkpoint names no training set: give .* with --calibrate DIR"),
    (None, "/gone/set", "the training set /gone/set is gone: give .*--calibrate DIR"),
    (Path("/gone/photos"), None, "--calibrate /gone/photos is not a folder"),
])  # fmt: skip
def test_without_images_a_sentence_says_what_to_give(chosen, folder, remembered, words):
    with pytest.raises(OptionError, match=words):
        chosen(folder, remembered)


def test_drawn_images_serve_where_there_are_no_others(small):
    images = drawn_set(small.model)
    assert {trial.sources.shape for trial in images.ranges} == {(1, 32, 32, 3)}
    assert images.search == ()
    assert tuple(images.gate) == NAMES
    calibrated = {trial.sources.tobytes() for trial in images.ranges}
    assert not calibrated & {trial.sources.tobytes() for trial in chain(*images.gate.values())}
    assert len({trial.styles.tobytes() for trial in images.ranges}) == len(images.ranges)


def test_too_few_images_are_counted(chosen, tmp_path):
    fill(tmp_path / "photos", 11, 0)
    with pytest.raises(OptionError, match="photos has 11 readable images, too few .* at least 12, better 96"):
        chosen(tmp_path / "photos")
