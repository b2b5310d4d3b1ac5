from __future__ import annotations

import threading
import time

import pytest

from starcast.runtime.video.ahead import ahead


def test_items_come_in_order():
    with ahead(iter(range(100)), "count", depth=3) as items:
        assert list(items) == list(range(100))


def test_no_more_items_are_made_than_the_queue_has_places():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    with ahead(numbers(), "count", depth=3) as items:
        next(items)
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1  # taken, waiting, in hand


def test_an_error_is_raised_where_the_next_item_would_be_taken():
    def numbers():
        yield 1
        raise ZeroDivisionError("two")

    with ahead(numbers(), "count") as items:
        assert next(items) == 1
        with pytest.raises(ZeroDivisionError, match="two"):
            next(items)


def test_threads_end_when_the_taker_stops_early():
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    def stopped_at_the_first_item():
        with ahead(endless(), "one") as first, ahead(first, "two") as second:
            next(second)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_at_the_first_item()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("starcast-")]
