"""What nvidia-smi says, and what is made of it where it says nothing."""

from __future__ import annotations

import subprocess

from starcast.benchmarks.bench import gpu_state as module
from starcast.benchmarks.bench.gpu_state import gpu_state, parse_state

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
