"""What a process says when it ends."""

from __future__ import annotations

import pytest

from starcast.benchmarks.bench.worker import reason_in

CHAIN = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
FileNotFoundError: [Errno 2] No such file or directory: 'g++'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "y.py", line 2, in <module>
torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace.
"""


def test_the_reason_is_the_last_errors_own_words():
    assert reason_in(CHAIN, 1) == "InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config"


def test_a_process_that_raises_nothing_is_quoted_with_its_last_line():
    assert reason_in("warning: odd\nfatal: no memory\n\n", 3) == "fatal: no memory"


def test_a_silent_process_is_told_of_as_well():
    assert reason_in("", 1) == "it ended without a message"


@pytest.mark.parametrize(("status", "words"), [(-11, "signal 11"), (-9, "signal 9 (out of memory?)")])
def test_a_process_that_was_killed_is_told_by_the_signal(status, words):
    assert words in reason_in("Traceback", status)


def test_a_reason_fits_into_a_line():
    assert len(reason_in("ValueError: " + "x" * 5000, 1)) <= 200
