"""Batches: a function of the step, balanced, of different references, and whole in spite of damaged files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.errors import DatasetError, TrainingError
from starcast.options import replace_options
from starcast.train.data import loader
from starcast.train.data.batch import to_signed
from starcast.train.data.batches import training_transform
from starcast.train.data.folders import scan
from starcast.train.data.loader import load_batches, worker_count
from starcast.train.families.stargan_v2.batches import ReferenceBatches


def all_tensors(batch):
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def assert_same(batch, other):
    for name, tensor in all_tensors(batch).items():
        assert torch.equal(tensor, getattr(other, name)), name


def drawn(images, options, steps, progress=lambda line: pytest.fail(line)):
    dataset = ReferenceBatches(scan(images), options)
    return list(load_batches(dataset, steps, workers=options.data.workers, pin=False, progress=progress))


def test_a_batch_has_the_shapes_and_ranges_of_training(images, small):
    drawn_here = ReferenceBatches(scan(images), small)[0].batch
    batch = drawn_here.to_step(torch.device("cpu"), torch.channels_last)
    for name in ("source", "reference", "reference2"):
        assert getattr(drawn_here, name).dtype == torch.uint8  # through memory that is shared with workers
        assert getattr(batch, name).shape == (3, 3, 32, 32)
        assert getattr(batch, name).dtype == torch.float32
        assert getattr(batch, name).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(getattr(batch, name), to_signed(getattr(drawn_here, name)))
        assert -1 <= getattr(batch, name).min() < getattr(batch, name).max() <= 1
    assert batch.latent.shape == batch.latent2.shape == (3, 3)
    assert batch.source_domain.dtype == batch.domain.dtype == torch.int64
    assert not torch.equal(batch.latent, batch.latent2)


@pytest.mark.parametrize(
    ("asked", "device", "cores", "count"),
    [(None, "cpu", 16, 2), (None, "cuda", 16, 8), (None, "cuda", 4, 2), (None, "cuda", None, 2), (0, "cuda", 16, 0)],
)
def test_a_gpu_is_fed_by_most_of_the_cores_unless_a_number_is_given(monkeypatch, asked, device, cores, count):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert worker_count(asked, torch.device(device)) == count


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 23135) is killed by signal: Killed.\nIt may be out of memory."),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"), EOFError(),
    ],
)  # fmt: skip
def test_a_worker_that_is_killed_is_a_sentence(images, small, error):
    """What torch raises then, now this and now that; a real one would be killed at an uncertain moment."""

    def drawing():
        yield ReferenceBatches(scan(images), small)[0]
        raise error

    running = loader._check_drawn(drawing(), pytest.fail)
    next(running)
    with pytest.raises(
        TrainingError,
        match=r"a process that decodes images was killed .*: use fewer --workers, or 0; in a container, allow more",
    ) as caught:
        next(running)
    assert "\n" not in str(caught.value)


def test_another_mistake_while_a_batch_is_drawn_is_not_taken_for_that():
    def drawing():
        raise RuntimeError("stack expects each tensor to be equal size")
        yield

    with pytest.raises(RuntimeError, match="equal size"):
        next(loader._check_drawn(drawing(), pytest.fail))


def test_a_batch_is_a_function_of_its_step_alone(images, small):
    forwards = drawn(images, small, range(5))
    (alone,) = drawn(images, small, range(3, 4))
    assert_same(forwards[3], alone)
    assert not torch.equal(forwards[3].source, forwards[4].source)


def test_workers_and_cache_do_not_change_the_batches(images, small):
    here = drawn(images, small, range(4))
    there = drawn(images, replace_options(small, workers=2, cache_mb=0), range(4))
    for batch, other in zip(here, there, strict=True):
        assert_same(batch, other)


def test_drawing_leaves_the_global_generator_alone(images, small):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ReferenceBatches(scan(images), small)[0]
    assert torch.equal(torch.rand(3), expected)


def test_domains_are_balanced_whatever_their_sizes(images, small):
    dataset = ReferenceBatches(scan(images), replace_options(small, batch_size=4000))
    for purpose in ("source domain", "reference domain"):
        share = dataset.draw_domains(0, purpose).mean()
        assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(4000))  # five standard deviations


def test_references_are_two_different_images_drawn_at_each_step(images, small):
    dataset = ReferenceBatches(scan(images), replace_options(small, batch_size=2000))
    domains = dataset.draw_domains(0, "reference domain")
    first, second = dataset._pairs(0, domains)
    assert (first != second).all()
    partners = [set(second[(domains == 0) & (first == number)]) for number in range(4)]
    assert partners == [{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}]
    assert any((dataset._pairs(step, domains)[1] != second).any() for step in (1, 2))


def test_a_domain_of_one_image_gives_it_twice(images, small):
    for number in (1, 2, 3):
        (images / "ink" / "train" / f"{number}.png").unlink()
    dataset = ReferenceBatches(scan(images, ["ink"]), small)
    first, second = dataset._pairs(0, np.zeros(5, np.int64))
    assert (first == 0).all()
    assert (second == 0).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_once_and_another_stands_in(images, small, workers):
    whole = drawn(images, small, range(12))
    (images / "ink" / "train" / "0.png").write_bytes(b"no image")
    said = []
    options = replace_options(small, workers=workers)
    damaged = drawn(images, options, range(12), said.append)
    assert len(said) == 1
    assert "0.png is a text file: give PNG, JPEG" in said[0]
    again = drawn(images, replace_options(small, workers=0), range(12), lambda _: None)
    for batch, other in zip(damaged, again, strict=True):
        assert_same(batch, other)
    assert all(torch.equal(batch.domain, other.domain) for batch, other in zip(damaged, whole, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_domain_without_a_readable_image_ends_the_run_in_one_sentence(images, small, workers):
    for path in (images / "ink" / "train").iterdir():
        path.write_bytes(b"no image")
    options = replace_options(small, workers=workers)
    with pytest.raises(DatasetError, match=r"^none of the 4 training images of the domain 'ink' can be read") as error:
        drawn(images, options, range(5), lambda _: None)
    assert "Traceback" not in str(error.value)


def test_the_stand_in_of_a_reference_is_not_its_partner(images, small):
    (images / "ink" / "train" / "0.png").write_bytes(b"no image")
    dataset = ReferenceBatches(scan(images), small)
    for step in range(20):
        shown = dataset._readable(step, "reference 0", 0, 0, partner=2)
        assert not torch.equal(shown, dataset.decoded.read(images / "ink" / "train" / "2.png"))


def test_signed_pixels_span_minus_one_to_one():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)  # 51 / 255 = 0.2
    torch.testing.assert_close(to_signed(pixels), torch.tensor([-1.0, -0.6, 1.0]))


def test_without_a_crop_the_image_is_resized_as_pillow_does_or_mirrored():
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    resized = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(resized)).permute(2, 0, 1).int()
    transform = training_transform(32, crop_probability=0.0)
    flips = 0
    for _ in range(20):
        out = transform(image).int()
        mirrored = (out.flip(2) - expected).abs().max() <= 1
        assert mirrored or (out - expected).abs().max() <= 1  # Pillow rounds in fixed point
        flips += int(mirrored)
    assert 0 < flips < 20
