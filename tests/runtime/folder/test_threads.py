from __future__ import annotations

import threading
import time

import pytest

from starcast.runtime.folder.threads import InOrder, map_ahead, open_pool


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
