from __future__ import annotations

import os
from pathlib import Path

import pytest

from starcast.runtime import cores


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("groups", "files", "quota"), [
    ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
    ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    ("0::/\n", {}, None),
    ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "cpu.max": "400000 100000"}, 1.5),
    ("0::/not/seen/in/here\n", {"cpu.max": "50000 100000"}, 0.5),
    ("0::/\n", {"cpu.max": "nonsense"}, None),
    ("5:cpu,cpuacct:/job\n3:memory:/job\n",
     {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 3.0),
    ("5:cpuacct,cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "200000"}, 1.5),
    ("5:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ("6:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}, None),
    ("", {}, None),
], ids=["version 2", "no limit", "no file", "the parent's is less", "a path of the host", "nonsense", "version 1",
        "version 1, another mount", "version 1, no limit", "another controller", "no groups"])  # fmt: skip
def test_the_quota_is_the_smallest_up_the_tree(tmp_path, groups, files, quota):
    (tmp_path / "cgroup").write_text(groups)
    assert cores.cpu_quota(tmp_path / "cgroup", _write(tmp_path / "fs", {"x": "", **files})) == quota


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert cores.cpu_quota(tmp_path / "absent", tmp_path) is None


def test_two_threads_of_a_core_count_once(tmp_path):
    topology = _write(tmp_path, {
        f"cpu{number}/topology/thread_siblings_list": f"{number % 2},{number % 2 + 2}\n" for number in range(4)
    })  # fmt: skip
    assert cores.physical_cores({0, 1, 2, 3}, topology) == 2
    assert cores.physical_cores({1, 3}, topology) == 1
    assert cores.physical_cores({0, 7, 8}, topology) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has affinity")
@pytest.mark.parametrize(("quota", "threads"), [(None, 1), (0.2, 1), (8.0, 1)])
def test_the_affinity_counts(monkeypatch, quota, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert (cores.allowed_threads(), cores.engine_threads()) == (threads, threads)


@pytest.mark.parametrize(("quota", "threads"), [(None, 8), (0.2, 1), (1.4, 1), (1.5, 2), (2.0, 2), (64.0, 8)])
def test_the_quota_counts(monkeypatch, quota, threads):
    monkeypatch.setattr(cores, "_affinity", lambda: set(range(8)))
    monkeypatch.setattr(cores, "physical_cores", len)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert (cores.allowed_threads(), cores.engine_threads()) == (threads, threads)


def test_without_affinity_the_engine_counts_its_threads(monkeypatch):
    monkeypatch.setattr(cores, "_affinity", lambda: None)
    monkeypatch.setattr(cores, "cpu_quota", lambda: None)
    assert cores.engine_threads() is None
    assert cores.allowed_threads() == os.cpu_count()
