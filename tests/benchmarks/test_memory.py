from __future__ import annotations

import os
from pathlib import Path

import pytest

from starcast.benchmarks.memory import peak_in_status, peak_rss


def test_the_peak_is_read_in_bytes():
    assert peak_in_status("Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  512 kB\nVmRSS:\t 100 kB\n") == 512 * 1024
    assert peak_in_status("Name:\tkthread\n") is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident pages are read from /proc")
def test_the_peak_is_at_least_what_is_resident_now():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = peak_rss()
    assert peak is not None
    assert peak >= 0.9 * resident
