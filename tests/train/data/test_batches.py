"""Batches: a function of the step, balanced, of different references, and whole in spite of damaged files."""

from __future__ import annotations

import dataclasses
import errno
import gc
import multiprocessing
import multiprocessing.reduction
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from starcast.errors import DatasetError, ImageError, TrainingError
from starcast.options import replace_options
from starcast.train.data.batch import to_signed
from starcast.train.data.batches import training_transform
from starcast.train.data.folders import DataSet, Domain, scan
from starcast.train.data.loader import load_batches, worker_count
from starcast.train.families.stargan_v2.batches import ReferenceBatches
from starcast.train.families.stargan_v2.options import StarGANv2Options


def all_tensors(batch):
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def assert_same(batch, other):
    for name, tensor in all_tensors(batch).items():
        assert torch.equal(tensor, getattr(other, name)), name


def drawn(images, options, steps, progress=lambda line: pytest.fail(line)):
    dataset = ReferenceBatches(scan(images), options)
    with load_batches(dataset, steps, workers=options.data.workers, pin=False, progress=progress) as ready:
        return list(ready)


def test_a_batch_has_the_shapes_and_ranges_of_training(images, small):
    drawn_here = ReferenceBatches(scan(images), small)[0].batch
    batch = drawn_here.to_step(torch.device("cpu"), torch.channels_last)
    for name in ("source", "reference", "reference2"):
        assert getattr(drawn_here, name).dtype == torch.uint8  # through the pipes of workers
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


class Stubborn(ReferenceBatches):
    """Batches that come to a bad end at step 2: the worker is killed, stops for good, or makes a mistake."""

    def __init__(self, images, options, fate):
        super().__init__(scan(images), options)
        self.fate = fate

    def draw(self, step):
        if step == 2:
            self.fate()
        return super().draw(step)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    os.kill(os.getpid(), signal.SIGSTOP)


def lack_memory():
    raise MemoryError


def make_a_mistake():
    raise RuntimeError("stack expects each tensor to be equal size")


@pytest.mark.parametrize(
    ("fate", "workers", "error", "sentence"),
    [
        (
            be_killed,
            2,
            TrainingError,
            "was killed (SIGKILL, perhaps because memory ran out): use fewer --workers, or 0",
        ),
        (lack_memory, 2, TrainingError, "has too little memory: use fewer --workers, or 0"),
        (make_a_mistake, 2, RuntimeError, "stack expects each tensor to be equal size"),
        (make_a_mistake, 0, RuntimeError, "stack expects each tensor to be equal size"),
    ],
)
def test_a_worker_that_cannot_deliver_is_named_after_what_the_others_have_sent(
    images, small, fate, workers, error, sentence
):
    batches = Stubborn(images, small, fate)
    with load_batches(batches, range(6), workers=workers, pin=False, progress=pytest.fail) as ready:
        next(ready)
        next(ready)
        with pytest.raises(error) as caught:
            next(ready)
    assert str(caught.value).endswith(sentence)


def test_a_run_that_is_asked_to_stop_waits_for_no_worker(images, small):
    stops, batches = [], Stubborn(images, small, hang)
    with load_batches(
        batches, range(6), workers=2, pin=False, progress=pytest.fail, stopped=lambda: bool(stops)
    ) as ready:
        next(ready)
        next(ready)
        stops.append(True)
        start = time.monotonic()
        assert next(ready, None) is None
    assert time.monotonic() - start < 5  # it hung for good
    assert not multiprocessing.active_children()


def test_workers_end_with_the_block_and_with_their_parent(images, small, tmp_path):
    code = f"""if True:
        import multiprocessing, os, pickle, signal
        from starcast.train.data.loader import load_batches
        batches, = pickle.loads({pickle.dumps((ReferenceBatches(scan(images), small),))!r})
        with load_batches(batches, range(999), workers=3, pin=False, progress=print) as ready:
            next(ready)
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    assert len(said) == 3
    wait_until(lambda: not any(is_alive(int(pid)) for pid in said))


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("allowed", "line"),
    [
        (3, "2 of 8 processes decode images, because the system allows no more (too many open files)"),
        (0, "The run decodes images itself, because no process can be started for that (too many open files)"),
    ],
)
def test_as_many_workers_are_started_as_the_system_allows(images, small, monkeypatch, allowed, line):
    start, started = multiprocessing.Process.start, []

    def start_some(process):
        if len(started) == allowed:
            started.clear()  # the loader ends them before it tries fewer
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        start(process)
        started.append(process)

    monkeypatch.setattr(multiprocessing.Process, "start", start_some)
    said = []
    there = drawn(images, replace_options(small, workers=8), range(9), said.append)
    assert said == [line]
    for batch, other in zip(there, drawn(images, small, range(9)), strict=True):
        assert_same(batch, other)


def test_batches_need_neither_shared_memory_nor_open_files_of_their_own(images, small):
    batch = ReferenceBatches(scan(images), small)[0].batch
    sent = multiprocessing.reduction.ForkingPickler.dumps(batch)
    assert len(sent) > sum(tensor.nbytes for tensor in all_tensors(batch).values())
    assert_same(pickle.loads(sent), batch)


def test_an_image_that_the_machine_cannot_open_now_is_not_replaced_by_another(images, small, monkeypatch):
    def fail(path):
        raise ImageError(f"{path} cannot be opened") from OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("starcast.train.data.batches.read_image", fail)
    with pytest.raises(TrainingError, match="the machine cannot read images now, whatever the file"):
        drawn(images, small, range(1))


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
        shown, _ = dataset._readable(step, "reference 0", 0, 0, partner=2)
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


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_image_comes_once_in_every_pass(count, size, seed):
    domain = Domain("ink", tuple(Path(str(number)) for number in range(count)), ())
    dataset = ReferenceBatches(
        DataSet(Path(), (domain,)), replace_options(StarGANv2Options(), seed=seed), workers=0
    )  # fmt: skip
    steps = [dataset.next_in_turn(step, "sources", count, size).tolist() for step in range(-(-3 * count // size))]
    shown = [image for step in steps for image in step]
    for start in range(0, 3 * count, count):
        assert sorted(shown[start : start + count]) == list(range(count))
    assert steps[-1] == dataset.next_in_turn(len(steps) - 1, "sources", count, size).tolist()


class OfTheRun:
    """Garbage that a fork must not free, like a decoder whose threads are the run's."""

    def __init__(self):
        self.cycle, self.process = self, os.getpid()

    def __del__(self):
        if os.getpid() != self.process:
            os._exit(3)


def test_a_worker_frees_nothing_of_the_run(images, small):
    gc.disable()
    try:
        OfTheRun()
        batches = Stubborn(images, small, gc.collect)
        with load_batches(batches, range(4), workers=2, pin=False, progress=pytest.fail) as ready:
            assert len(list(ready)) == 4
    finally:
        gc.enable()
