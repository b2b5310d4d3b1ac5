"""The core of live translation: the newest frame wins, nobody waits for a slow feed, styles change smoothly."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from starcast.runtime.live.age import Ages
from starcast.runtime.live.captured import Captured
from starcast.runtime.live.looks import CHANGE_S, Look, Looks
from starcast.runtime.live.model import LiveModel
from starcast.runtime.live.newest import Ended, Newest

WAIT_S = 10  # for what comes at once, on a busy machine


def frame(number, value=0, size=4):
    return Captured(number, float(number), lambda: np.full((size, size, 3), value, np.uint8))


def add(images, styles):
    return images + styles[:, :1, None, None].astype(np.uint8)


def as_it_is(image):
    return image


def test_the_newest_item_replaces_what_waits_and_is_counted():
    box = Newest()
    for item in (1, 2, 3):
        box.put(item)
    assert (box.take(), box.dropped) == (3, 2)
    assert box.take(0) is None


def test_a_closed_mailbox_gives_its_last_item_and_then_its_error():
    box, broken = Newest(), Newest()
    box.put(1)
    box.close()
    assert box.take() == 1
    with pytest.raises(Ended):
        box.take()
    broken.close(ValueError("why"))
    with pytest.raises(ValueError, match="why"):
        broken.take()


def test_feeds_of_one_size_share_a_batch_each_with_its_own_style():
    batches, entered, go = [], threading.Event(), threading.Event()

    def translate(images, styles):
        entered.set()
        assert go.wait(WAIT_S)
        batches.append(len(images))
        return add(images, styles)

    with LiveModel(translate, sizes=(1, 2)) as model:
        blocker = model.feed(as_it_is, lambda _: np.zeros(1, np.float32))
        feeds = [model.feed(as_it_is, lambda _, style=style: np.full(1, style, np.float32)) for style in (10, 20, 30)]
        blocker.frames.put(frame(0))
        assert entered.wait(WAIT_S)
        for feed in feeds:  # while the model works on the first
            feed.frames.put(frame(1, value=5))
        go.set()
        results = [feed.results.take(WAIT_S) for feed in feeds]
    assert [result.image[0, 0, 0] for result in results] == [15, 25, 35]
    assert batches == [1, 2, 1]


def test_only_the_newest_frame_is_translated_and_only_it_is_decoded():
    decoded, entered, go = [], threading.Event(), threading.Event()

    def translate(images, styles):
        entered.set()
        assert go.wait(WAIT_S)
        return images

    def decode(number):
        decoded.append(number)
        return np.zeros((4, 4, 3), np.uint8)

    with LiveModel(translate) as model:
        feed = model.feed(as_it_is, lambda _: np.zeros(1, np.float32))
        feed.frames.put(Captured(0, 0.0, lambda: decode(0)))
        assert entered.wait(WAIT_S)
        for number in range(1, 6):
            feed.frames.put(Captured(number, 0.0, lambda number=number: decode(number)))
        feed.close()
        go.set()
        while (result := feed.results.take(WAIT_S)) is not None and result.number != 5:
            pass  # 0, if it was taken before 5 replaced it
    assert result is not None
    assert decoded == [0, 5]
    assert feed.frames.dropped == 4


def test_a_frame_that_cannot_be_prepared_ends_its_own_feed_only():
    def fail(_image):
        raise ValueError("this feed")

    with LiveModel(add) as model:
        bad, good = (model.feed(prepare, lambda _: np.ones(1, np.float32)) for prepare in (fail, as_it_is))
        bad.frames.put(frame(0))
        with pytest.raises(ValueError, match="this feed"):
            bad.results.take(WAIT_S)
        good.frames.put(frame(0, value=7))
        assert good.results.take(WAIT_S).image[0, 0, 0] == 8


def test_an_error_of_the_model_reaches_every_feed():
    def fail(_images, _styles):
        raise RuntimeError("the engine")

    with LiveModel(fail) as model:
        feeds = [model.feed(as_it_is, lambda _: np.ones(1, np.float32)) for _ in range(2)]
        feeds[0].frames.put(frame(0))
        for feed in feeds:
            with pytest.raises(RuntimeError, match="the engine"):
                feed.results.take(WAIT_S)


def test_a_style_changes_evenly_and_from_where_it_is_when_steered_again():
    now = [0.0]
    looks = Looks(lambda seed, **_: np.full(1, seed, np.float32), Look(seed=0), lambda: now[0])
    looks.steer(Look(seed=10))
    assert looks.style_at(CHANGE_S / 2)[0] == pytest.approx(5)
    now[0] = CHANGE_S / 2
    looks.steer(Look(seed=1))
    assert looks.style_at(now[0])[0] == pytest.approx(5)
    assert looks.style_at(now[0] + CHANGE_S / 4)[0] == pytest.approx(4)
    assert looks.style_at(now[0] + CHANGE_S)[0] == 1
    assert looks.version == 2


def test_a_blend_lies_between_two_looks_which_are_made_once():
    made = []

    def make(seed, **_):
        made.append(seed)
        return np.full(1, seed, np.float32)

    looks = Looks(make, Look(seed=0), lambda: 0.0)
    for share in (0.25, 0.5):
        looks.steer(Look(seed=0, second=Look(seed=8), blend=share))
        assert looks.style_at(CHANGE_S)[0] == 8 * share
    assert made == [0, 8]


def test_a_look_that_cannot_be_made_changes_nothing():
    def make(seed, **_):
        if seed:
            raise ValueError("no such style")
        return np.zeros(1, np.float32)

    looks = Looks(make, Look(seed=0))
    with pytest.raises(ValueError, match="no such style"):
        looks.steer(Look(seed=1))
    assert (looks.look, looks.version) == (Look(seed=0), 0)


def test_ages_are_from_capture_to_sink():
    now = [0.0]
    ages = Ages(lambda: now[0])
    for number in range(20):
        ages.capture()
        if number % 2:
            now[0] = number * 0.1 + (0.05 if number < 19 else 0.5)
            ages.show(number * 0.1, 0.02)
    facts = ages.facts()
    assert (facts["captured"], facts["shown"], facts["dropped"]) == (20, 10, 10)
    assert facts["age_ms"] == pytest.approx({"p50": 50, "p95": 500, "p99": 500}, rel=0.01)
    assert facts["engine_ms"]["p50"] == pytest.approx(20, rel=0.01)
    assert facts["shown_fps"] == pytest.approx(10 / 2.4, abs=0.01)
