from __future__ import annotations

import pytest

from starcast.errors import EngineError
from starcast.runtime.engines.contest import MOST_ROUNDS, contest


class Clock:
    """Seconds that pass only when something says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pace = 1.0  # the machine: everything takes so many times as long
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.pace


class Model:
    """Opened: takes `run_s` a run, after a first one that takes `first_s`."""

    def __init__(self, clock: Clock, name: str, run_s: float, first_s: float, fails_at: int | None) -> None:
        self.clock, self.name, self.run_s, self.first_s, self.fails_at = clock, name, run_s, first_s, fails_at
        self.runs, self.closed = 0, False

    def run(self) -> None:
        assert not self.closed
        if self.runs == self.fails_at:
            raise EngineError(f"{self.name} fails")
        self.clock.spend(self.run_s if self.runs else self.first_s)
        self.runs += 1
        self.clock.log.append(self.name)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def models(clock):
    """A function that makes an opener: name, seconds to open, a run, the first run. What was opened is in `.made`."""
    made: dict[str, Model] = {}

    def opener(name, run_s, *, open_s=0.1, first_s=None, fails_at=None, refused=False):
        def open_model() -> Model:
            clock.spend(open_s)
            if refused:
                raise EngineError(f"{name} is refused")
            made[name] = Model(clock, name, run_s, run_s if first_s is None else first_s, fails_at)
            return made[name]

        return open_model

    opener.made = made
    return opener


def held(clock, *openers, **settings):
    def measure(model: Model) -> float:
        began = clock()
        model.run()
        return clock() - began

    return contest(list(openers), measure, clock=clock, **settings)


def test_the_fastest_wins_and_is_handed_over_open_while_the_others_are_closed(clock, models):
    outcome = held(clock, models("a", 0.3), models("b", 0.2), models("c", 0.4))
    assert (outcome.best, outcome.winner.name, outcome.whole) == (1, "b", True)
    assert {name: model.closed for name, model in models.made.items()} == {"a": True, "b": False, "c": True}
    assert [figure.seconds for figure in outcome.figures] == pytest.approx([0.3, 0.2, 0.4])


def test_a_slow_first_run_does_not_count(clock, models):
    assert held(clock, models("a", 0.3), models("b", 0.2, first_s=1.5)).best == 1


def test_rounds_alternate_and_each_begins_in_turn(clock, models):
    held(clock, models("a", 0.1), models("b", 0.1))
    assert clock.log[2:] == ["a", "b", "b", "a", "a", "b", "b", "a", "a", "b", "b", "a", "a", "b"]
    assert len(clock.log) == 2 + 2 * MOST_ROUNDS


def test_a_clear_match_is_over_after_two_rounds(clock, models):
    held(clock, models("a", 0.1), models("b", 0.3))
    assert len(clock.log) == 2 + 2 * 2


def test_equals_leave_the_one_that_stands_first_in_the_table(clock, models):
    assert held(clock, models("a", 0.2), models("b", 0.199)).best == 0
    assert held(clock, models("a", 0.2), models("b", 0.19)).best == 1


def test_a_machine_that_slows_down_between_matches_does_not_change_the_order(clock, models):
    def slowing(opener, pace):
        def open_model():
            clock.pace = pace
            return opener()

        return open_model

    outcome = held(
        clock, models("a", 0.10), slowing(models("b", 0.12), 1.5), slowing(models("c", 0.08), 3.0), budget_s=100
    )
    assert outcome.best == 2
    assert [figure.seconds for figure in outcome.figures] == pytest.approx([0.30, 0.36, 0.24])


def test_what_would_not_fit_into_the_time_is_left_out_in_order(clock, models):
    outcome = held(clock, models("a", 0.5, open_s=2), models("b", 0.4, open_s=2), models("c", 0.1, open_s=2))
    assert clock.now <= 8
    assert outcome.best == 1
    assert outcome.figures[2].seconds is None
    assert outcome.figures[2].left_out == "not within 8 s"
    assert "c" not in models.made
    assert not outcome.whole


def test_what_is_not_worth_opening_is_left_out_with_the_reason(clock, models):
    def skip(number, best_s):
        return "too slow to matter" if number == 2 and best_s > 0.25 else None

    outcome = held(clock, models("a", 0.4), models("b", 0.3), models("c", 0.1), skip=skip)
    assert (outcome.best, outcome.figures[2].left_out, outcome.whole) == (1, "too slow to matter", True)
    assert "c" not in models.made
    assert held(clock, models("a", 0.4), models("b", 0.2), models("c", 0.1), skip=skip).best == 2


def test_one_that_takes_all_the_time_to_open_wins_alone(clock, models):
    outcome = held(clock, models("a", 1, open_s=9), models("b", 0.1))
    assert (outcome.best, outcome.figures[1].seconds) == (0, None)


def test_a_close_match_leaves_time_for_those_that_follow(clock, models):
    outcome = held(clock, *(models(name, 0.3, open_s=0.5, first_s=0.4) for name in "abcd"))
    assert all(figure.seconds for figure in outcome.figures)
    assert clock.now <= 8


@pytest.mark.parametrize(("place", "trouble"), [
    (0, {"refused": True}), (0, {"fails_at": 0}), (1, {"refused": True}), (1, {"fails_at": 0}), (1, {"fails_at": 2}),
])  # fmt: skip
def test_one_that_fails_is_left_out_with_what_it_said(clock, models, place, trouble):
    good, bad = models("good", 0.2), models("bad", 0.1, **trouble)
    outcome = held(clock, *([bad, good] if place == 0 else [good, bad]))
    assert outcome.winner.name == "good"
    assert outcome.figures[place].left_out.startswith("bad ")
    assert all(model.closed for name, model in models.made.items() if name == "bad")
    assert not models.made["good"].closed


def test_if_all_fail_the_first_ones_sentence_is_raised(clock, models):
    with pytest.raises(EngineError, match="a is refused"):
        held(clock, models("a", 1, refused=True), models("b", 1, fails_at=0))
    assert models.made["b"].closed


def test_after_ctrl_c_nothing_stays_open(clock, models):
    def interrupted(model: Model) -> float:
        if model.name == "b":
            raise KeyboardInterrupt
        model.run()
        return 0.1

    with pytest.raises(KeyboardInterrupt):
        contest([models("a", 0.1), models("b", 0.1)], interrupted, clock=clock)
    assert all(model.closed for model in models.made.values())
