from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from starcast.benchmarks.bench.memory import peak_rss, read_status, rss


def test_what_is_held_and_the_peak_are_read_in_bytes():
    text = "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  512 kB\nVmRSS:\t 100 kB\n"
    assert read_status(text, "VmHWM") == 512 * 1024
    assert read_status(text, "VmRSS") == 100 * 1024
    assert read_status("Name:\tkthread\n", "VmRSS") is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere the most is all that is told")
def test_what_is_given_back_is_not_held_any_more():
    before = rss()
    array = np.ones(1 << 27, np.uint8)
    held = rss() - before
    del array
    assert held > 100e6
    assert rss() - before < 20e6
    assert peak_rss() - before > 100e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident pages are read from /proc")
def test_the_peak_is_at_least_what_is_resident_now():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = peak_rss()
    assert peak is not None
    assert peak >= 0.9 * resident
