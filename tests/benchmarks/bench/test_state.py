"""What nvidia-smi says, and what is made of it where it says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from starcast.benchmarks.bench import state as module
from starcast.benchmarks.bench.state import gpu_state, parse_state, peak_rss, read_status

TOLD = "NVIDIA GeForce RTX 4090, 590.44.01, 24564, P0, 2520, 3105, 10501, 61.35, 450.00, 41, 0\n"


def test_its_line_becomes_numbers_by_name():
    facts = parse_state(TOLD)
    assert facts["name"] == "NVIDIA GeForce RTX 4090"
    assert (facts["clocks_sm"], facts["clocks_max_sm"], facts["power_limit"]) == (2520, 3105, 450)
    assert (facts["pstate"], facts["driver_version"]) == ("P0", "590.44.01")


def test_only_the_first_card_counts():
    assert parse_state(TOLD + TOLD.replace("4090", "3090"))["name"].endswith("4090")


def test_what_the_card_does_not_tell_is_none():
    facts = parse_state(TOLD.replace("450.00", "[N/A]").replace("61.35", "[Not Supported]"))
    assert facts["power_limit"] is facts["power_draw"] is None
    assert facts["clocks_sm"] == 2520


def test_other_words_are_no_facts():
    assert parse_state("") is None
    assert parse_state("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") is None


def test_without_nvidia_smi_and_where_it_fails_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert gpu_state() is None
    monkeypatch.setattr(module.shutil, "which", lambda _: "nvidia-smi")

    def failing(*_, **__):
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(module.subprocess, "run", failing)
    assert gpu_state() is None


def test_what_is_held_and_the_peak_are_read_in_bytes():
    text = "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  512 kB\nVmRSS:\t 100 kB\n"
    assert read_status(text, "VmHWM") == 512 * 1024
    assert read_status(text, "VmRSS") == 100 * 1024
    assert read_status("Name:\tkthread\n", "VmRSS") is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere the most is all that is told")
def test_what_is_given_back_is_not_held_any_more():
    # in a process of its own: where much was freed before, the allocator may take the array from that and keep it
    lines = (
        "import numpy as np",
        "from starcast.benchmarks.bench.state import peak_rss, rss",
        "before = rss()",
        "array = np.ones(1 << 27, np.uint8)",
        "held = rss() - before",
        "del array",
        "print(held, rss() - before, peak_rss() - before)",
    )
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    held, after, most = map(int, told.split())
    assert held > 100e6
    assert after < 20e6
    assert most > 100e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident pages are read from /proc")
def test_the_peak_is_at_least_what_is_resident_now():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = peak_rss()
    assert peak is not None
    assert peak >= 0.9 * resident
