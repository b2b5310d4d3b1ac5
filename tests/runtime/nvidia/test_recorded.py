from __future__ import annotations

import gc
import weakref
from threading import Thread

import pytest

from starcast.runtime.nvidia.recorded import RECORDINGS, MostRecent, Recorded


class Work:
    """Counts plain runs, recordings and replays."""

    def __init__(self, spoiled: int = 0) -> None:
        self.log: list[str] = []
        self.spoiled = spoiled

    def run(self) -> str:
        self.log.append("run")
        return "plain"

    def record(self):
        self.log.append("record")
        if self.spoiled:
            self.spoiled -= 1
            return None
        return self.replay

    def replay(self) -> str:
        self.log.append("replay")
        return "replayed"


def test_the_first_call_is_plain_the_second_is_recorded_and_replayed_from_then_on():
    work = Work()
    call = Recorded(work.run, work.record)
    assert [call(), call(), call()] == ["plain", "replayed", "replayed"]
    assert work.log == ["run", "record", "replay", "replay"]


def test_a_spoiled_recording_runs_plainly_and_is_tried_again_but_not_for_ever():
    work = Work(spoiled=1)
    call = Recorded(work.run, work.record)
    assert [call(), call(), call()] == ["plain", "plain", "replayed"]
    work = Work(spoiled=99)
    call = Recorded(work.run, work.record)
    assert {call() for _ in range(9)} == {"plain"}
    assert work.log.count("record") == RECORDINGS


def test_without_attempts_every_call_is_plain():
    work = Work()
    call = Recorded(work.run, work.record, attempts=0)
    assert {call() for _ in range(3)} == {"plain"}


@pytest.mark.parametrize(("per_thread", "log"), [
    (False, ["run", "record", "replay"]), (True, ["run", "run"]),
])  # fmt: skip
def test_a_second_thread_runs_plainly_first_where_threads_learn_by_themselves(per_thread, log):
    work = Work()
    call = Recorded(work.run, work.record, per_thread=per_thread)
    call()
    thread = Thread(target=call)
    thread.start()
    thread.join()
    assert work.log == log


def test_a_first_run_that_fails_is_no_first_run():
    failures = [RuntimeError("busy")]

    def run() -> str:
        if failures:
            raise failures.pop()
        return "plain"

    call = Recorded(run, lambda: lambda: "replayed")
    with pytest.raises(RuntimeError, match="busy"):
        call()
    assert [call(), call()] == ["plain", "replayed"]


def test_of_too_many_values_the_one_unused_for_longest_is_dropped():
    dropped: list[str] = []
    recent: MostRecent[str, str] = MostRecent(2, dropped.append)
    for key in ("a", "b", "a", "c"):
        assert recent.get(key, key.upper) == key.upper()
    assert dropped == ["B"]
    recent.clear()
    assert dropped == ["B", "A", "C"]


def test_a_value_that_cannot_be_made_leaves_no_trace():
    recent: MostRecent[str, int] = MostRecent(2)
    with pytest.raises(ValueError, match="invalid literal"):
        recent.get("a", lambda: int("nonsense"))
    assert recent.get("a", lambda: 1) == 1


def test_a_dropped_value_goes_at_once_without_the_collector():
    recent: MostRecent[int, Work] = MostRecent(1)
    gone = weakref.ref(recent.get(0, Work))
    gc.disable()
    try:
        recent.get(1, Work)
        assert gone() is None
    finally:
        gc.enable()
