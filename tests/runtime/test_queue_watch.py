from __future__ import annotations

import time

import pytest

from starcast.runtime.queue_watch import QueueWatch
from starcast.runtime.stages import run_ahead


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: clock[0] is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_depths_are_weighted_by_the_time_they_last(clock):
    watch = QueueWatch(2)
    for seconds, depth in ((1, 1), (2, 2), (4, 1), (1, 0)):  # empty for 1 s, one for 2 s, full for 4 s, one for 1 s
        clock[0] += seconds
        watch.change(depth)
    assert watch.empty == pytest.approx(1 / 8)
    assert watch.full == pytest.approx(4 / 8)
    assert watch.mean == pytest.approx((2 * 1 + 4 * 2 + 1 * 1) / 8)


def test_a_queue_that_nothing_went_through_has_no_shares(clock):
    watch = QueueWatch(2)
    assert (watch.mean, watch.full, watch.empty) == (0, 0, 0)


@pytest.mark.parametrize(("maker_s", "taker_s", "is_full"), [(0.0, 0.004, True), (0.004, 0.0, False)])
def test_a_queue_is_full_before_a_slow_taker_and_empty_after_a_slow_maker(maker_s, taker_s, is_full):
    def items():
        for number in range(40):
            time.sleep(maker_s)
            yield number

    watch = QueueWatch(4)
    with run_ahead(items(), "count", 4, watch) as ready:
        for _ in ready:
            time.sleep(taker_s)
    assert (watch.full if is_full else watch.empty) > 0.6
    assert (watch.empty if is_full else watch.full) < 0.4
