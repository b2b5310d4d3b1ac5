from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from starcast.runtime.stages import Batches, InOrder, map_ahead, open_pool, run_ahead, submit
from starcast.signals import Stopped, stop_on_signals


class Log:
    """Doubles numbers, and remembers which came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def run(self, numbers):
        self.batches.append(list(numbers))
        return [2 * number for number in numbers]


def test_items_are_run_so_many_at_a_time_and_the_rest_at_the_end():
    log = Log()
    batches = Batches(2, log.run)
    assert [batches.add(number) for number in (1, 2, 3)] == [[], [2, 4], []]
    assert batches.finish() == [6]
    assert batches.finish() == []
    assert log.batches == [[1, 2], [3]]


def test_an_item_of_another_kind_completes_the_batch_before_it():
    log = Log()
    batches = Batches(3, log.run, kind=lambda number: number % 2)
    results = [batches.add(number) for number in (1, 3, 2, 4, 6, 5)]
    assert results == [[], [], [2, 6], [], [4, 8, 12], []]
    assert batches.finish() == [10]
    assert log.batches == [[1, 3], [2, 4, 6], [5]]


def test_with_batches_of_one_another_kind_changes_nothing():
    log = Log()
    batches = Batches(1, log.run, kind=lambda number: number)
    assert [batches.add(number) for number in (1, 2)] == [[2], [4]]
    assert batches.finish() == []


def test_a_last_item_completes_its_batch():
    log = Log()
    batches = Batches(3, log.run, last=lambda number: number % 5 == 4)
    for number in range(7):
        batches.add(number)
    batches.finish()
    assert log.batches == [[0, 1, 2], [3, 4], [5, 6]]


def test_what_fails_is_not_run_again():
    def fail(numbers):
        raise ValueError("no")

    batches = Batches(1, fail)
    with pytest.raises(ValueError, match="no"):
        batches.add(1)
    assert batches.finish() == []


def test_results_come_in_order_whichever_is_ready_first():
    with open_pool(4) as workers:
        assert list(map_ahead(workers, lambda n: time.sleep((n % 3) / 500) or n, range(30), ahead=8)) == list(range(30))


def test_no_more_is_begun_than_the_queue_has_places_for():
    begun, taken, most = 0, 0, 0
    lock = threading.Lock()

    def count(_: int) -> None:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)

    with open_pool(4) as workers:
        for _ in map_ahead(workers, count, range(100), ahead=5):
            with lock:
                taken += 1
    assert most <= 7


def test_an_error_drops_what_has_not_begun():
    begun = []

    def stopped_at_the_first() -> None:
        with open_pool(1) as workers:
            for _ in map_ahead(workers, lambda n: begun.append(n) or time.sleep(0.01), range(50), ahead=40):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_at_the_first()
    assert len(begun) < 10


def test_calls_are_taken_in_order_and_all_of_them_at_the_end():
    taken: list[int] = []
    with open_pool(3) as workers:
        queue = InOrder(workers, places=4, take=taken.append)
        for number in range(20):
            queue.add(lambda number=number: time.sleep((number % 3) / 500) or number)
        queue.finish()
    assert taken == list(range(20))


def test_items_that_are_made_ahead_come_in_order():
    with run_ahead(iter(range(100)), "count", depth=3) as items:
        assert list(items) == list(range(100))


def test_no_more_items_are_made_than_the_queue_has_places():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    with run_ahead(numbers(), "count", depth=3) as items:
        next(items)
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1  # taken, waiting, in hand


def test_an_error_is_raised_where_the_next_item_would_be_taken():
    def numbers():
        yield 1
        raise ZeroDivisionError("two")

    with run_ahead(numbers(), "count") as items:
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
        with run_ahead(endless(), "one") as first, run_ahead(first, "two") as second:
            next(second)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_at_the_first_item()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("starcast-")]


def test_a_signal_while_a_thread_begins_leaves_no_thread_that_its_pool_does_not_know(monkeypatch):
    """Python would wait for such a thread for ever when the process ends."""
    start = threading.Thread.start

    def start_and_stop(self):
        start(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(threading.Thread, "start", start_and_stop)
    executor = ThreadPoolExecutor(1)
    with pytest.raises(Stopped), stop_on_signals():
        submit(executor, print)
    assert len(executor._threads) == 1


def test_a_signal_while_a_stage_begins_ends_its_thread(monkeypatch):
    start, before = threading.Thread.start, threading.active_count()

    def start_and_stop(self):
        start(self)
        signal.raise_signal(signal.SIGTERM)

    def endless():
        while True:
            yield 1

    monkeypatch.setattr(threading.Thread, "start", start_and_stop)
    with pytest.raises(Stopped), stop_on_signals(), run_ahead(endless(), "test"):
        pass
    assert threading.active_count() == before
