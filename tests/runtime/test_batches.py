from __future__ import annotations

import pytest

from starcast.runtime.batches import Batches


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


def test_what_fails_is_not_run_again():
    def fail(numbers):
        raise ValueError("no")

    batches = Batches(1, fail)
    with pytest.raises(ValueError, match="no"):
        batches.add(1)
    assert batches.finish() == []
