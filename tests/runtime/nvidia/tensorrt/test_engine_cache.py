from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from starcast.errors import EngineError
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import engine_cache
from starcast.runtime.nvidia.tensorrt.engine_cache import EngineFacts, EngineSpec

ADA = Gpu("NVIDIA RTX 4090", (8, 9), "13.0")
CONTENT = b"vtrt of a test"
UNIX = pytest.mark.skipif(os.name == "nt", reason="file modes are Unix's")


def _facts(key: str = "a", **changes: object) -> EngineFacts:
    spec = EngineSpec(
        bundle="/bundles/B", role="generator/x.onnx", graph="g" * 64, precision="fp16", inputs={},
        flavour="tensorrt-rtx", version="1.7.1.116", target="sm89",
    )  # fmt: skip
    return EngineFacts(
        spec=msgspec.structs.replace(spec, **changes), key=key * 64, file=f"{key * 64}.engine",
        sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT), seconds=1.0, built="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def _add(folder: Path, facts: EngineFacts) -> EngineFacts:
    with engine_cache.new_file(facts.key, folder) as file:
        file.write_bytes(CONTENT)
    engine_cache.add(facts, folder)
    return facts


def _find(folder: Path, gpu: Gpu | None = ADA, version: str = "1.7.1.116", graph: str = "g" * 64) -> EngineFacts | None:
    return engine_cache.find(graph, "tensorrt-rtx", version, gpu, folder)


def test_what_was_added_is_found_and_loads_as_the_bytes_that_were_written(tmp_path):
    facts = _add(tmp_path, _facts())
    assert _find(tmp_path) == facts
    assert engine_cache.load(facts, tmp_path) == CONTENT


def test_an_empty_cache_finds_nothing_and_makes_no_folder(tmp_path):
    assert _find(tmp_path) is None
    assert engine_cache.entries(tmp_path) == ()
    assert engine_cache.strays(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_of_several_that_fit_the_one_that_was_asked_for_last_is_found(tmp_path):
    first, second = _add(tmp_path, _facts("a")), _add(tmp_path, _facts("b"))
    assert _find(tmp_path) == second
    engine_cache.add(first, tmp_path)
    assert _find(tmp_path) == first
    assert len(engine_cache.entries(tmp_path)) == 2


@pytest.mark.parametrize(("changes", "clause"), [
    ({"version": "1.6.1.120"}, "it was built by tensorrt-rtx 1.6.1.120, but this is 1.7.1.116"),
    ({"target": "sm86"}, "it was built for sm86, this GPU is sm89"),
    ({"gpu": "NVIDIA L4"}, "it was built on NVIDIA L4, this GPU is NVIDIA RTX 4090"),
    ({"gpu": ADA.name, "driver": "12.8"}, "it was built with a driver for CUDA 12.8, but this one is for 13.0"),
])  # fmt: skip
def test_what_does_not_fit_is_not_found_and_says_why(tmp_path, changes, clause):
    _add(tmp_path, _facts(**changes))
    assert _find(tmp_path) is None
    assert engine_cache.why_missing("g" * 64, "tensorrt-rtx", "1.7.1.116", ADA, tmp_path) == clause


def test_an_engine_of_the_same_gpu_and_driver_fits():
    assert _facts(gpu=ADA.name, driver=ADA.driver).spec.misfit("1.7.1.116", ADA) is None


def test_without_a_gpu_nothing_fits(tmp_path):
    _add(tmp_path, _facts())
    assert _find(tmp_path, gpu=None) is None
    reason = engine_cache.why_missing("g" * 64, "tensorrt-rtx", "1.7.1.116", None, tmp_path)
    assert reason == "there is no NVIDIA GPU here"


def test_another_graph_has_no_engine(tmp_path):
    _add(tmp_path, _facts())
    assert _find(tmp_path, graph="h" * 64) is None
    reason = engine_cache.why_missing("h" * 64, "tensorrt-rtx", "1.7.1.116", ADA, tmp_path)
    assert reason == "none was built for it"


def test_an_engine_whose_file_has_gone_is_not_found(tmp_path):
    facts = _add(tmp_path, _facts())
    (engine_cache.place(tmp_path) / facts.file).unlink()
    assert _find(tmp_path) is None
    assert engine_cache.damage(facts, tmp_path) == "its file is missing"
    assert engine_cache.why_missing("g" * 64, "tensorrt-rtx", "1.7.1.116", ADA, tmp_path) == "its file is missing"
    with pytest.raises(EngineError, match="cannot be read"):
        engine_cache.load(facts, tmp_path)


@pytest.mark.parametrize("tampered", [CONTENT + b"x", CONTENT[:-1], b"", b"X" + CONTENT[1:]])
def test_bytes_that_were_not_built_here_are_not_loaded(tmp_path, tampered):
    facts = _add(tmp_path, _facts())
    (engine_cache.place(tmp_path) / facts.file).write_bytes(tampered)
    with pytest.raises(EngineError, match="has changed since it was built"):
        engine_cache.load(facts, tmp_path)
    assert engine_cache.damage(facts, tmp_path) == "its file is damaged"


def test_a_file_that_the_index_does_not_name_is_not_found(tmp_path):
    with engine_cache.new_file("a" * 64, tmp_path) as file:
        file.write_bytes(CONTENT)
    assert _find(tmp_path) is None


@pytest.mark.parametrize("name", ["../evil.engine", "/evil.engine", "a/b.engine", "..\\evil.engine", ".."])
def test_an_index_that_leads_out_of_the_folder_names_nothing(tmp_path, name):
    facts = msgspec.structs.replace(_add(tmp_path, _facts()), file=name)
    engine_cache.add(facts, tmp_path)
    assert engine_cache.entries(tmp_path) == ()
    with pytest.raises(EngineError, match="is not in"):
        engine_cache.load(facts, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 3, "engines": []}', b'{"engines": [{"key": 1}]}'])
def test_a_damaged_or_foreign_index_names_nothing_and_is_written_anew(tmp_path, content):
    _add(tmp_path, _facts("a"))
    (engine_cache.place(tmp_path) / engine_cache.INDEX).write_bytes(content)
    assert engine_cache.entries(tmp_path) == ()
    second = _add(tmp_path, _facts("b"))
    assert engine_cache.entries(tmp_path) == (second,)
    assert [path.name for path in engine_cache.strays(tmp_path)] == [_facts("a").file]


def test_an_index_of_format_1_names_nothing_so_that_its_engines_are_built_again(tmp_path):
    _add(tmp_path, _facts())
    index = engine_cache.place(tmp_path) / engine_cache.INDEX
    entry = {
        "key": "a" * 64, "file": "a" * 64 + ".engine", "sha256": hashlib.sha256(CONTENT).hexdigest(), "graph": "g" * 64,
        "role": "generator/x.onnx", "bundle": "B", "folder": "/bundles/B", "precision": "fp16", "inputs": {},
        "flavour": "tensorrt-rtx", "version": "1.7.1.116", "targets": ["sm89"], "bytes": len(CONTENT), "seconds": 1.0,
        "built": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    index.write_bytes(msgspec.json.encode({"format": 1, "engines": [entry]}))
    assert engine_cache.entries(tmp_path) == ()
    assert _find(tmp_path) is None


@UNIX
def test_only_the_user_may_enter_the_folder(tmp_path):
    _add(tmp_path, _facts())
    assert engine_cache.place(tmp_path).stat().st_mode & 0o777 == 0o700


@UNIX
def test_a_folder_that_others_could_read_is_closed(tmp_path):
    engine_cache.place(tmp_path).mkdir(mode=0o755)
    _add(tmp_path, _facts())
    assert engine_cache.place(tmp_path).stat().st_mode & 0o777 == 0o700


@UNIX
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o720])
def test_a_folder_that_others_could_write_to_is_not_trusted(tmp_path, mode):
    facts = _add(tmp_path, _facts())
    engine_cache.place(tmp_path).chmod(mode)
    for attempt in (lambda: _find(tmp_path), lambda: engine_cache.load(facts, tmp_path)):
        with pytest.raises(EngineError, match="can be written to by others"):
            attempt()


def test_the_users_cache_is_beside_the_compiled_graphs(monkeypatch, tmp_path):
    if sys.platform != "linux":
        pytest.skip("the variable is Linux's")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_cache.place() == tmp_path / "starcast/engines"


def test_removing_takes_the_compiled_kernels_along_and_leaves_the_rest(tmp_path):
    first, second = _add(tmp_path, _facts("a")), _add(tmp_path, _facts("b"))
    where = engine_cache.place(tmp_path)
    for facts in (first, second):
        (where / f"{facts.file}.kernels").write_bytes(b"k")
    assert engine_cache.remove([first.key, "0" * 64], tmp_path) == (first,)
    assert engine_cache.entries(tmp_path) == (second,)
    assert {path.name for path in where.iterdir() if first.key in path.name} == set()
    assert (where / f"{second.file}.kernels").exists()
    assert engine_cache.strays(tmp_path) == ()


def test_a_failed_build_leaves_no_file(tmp_path):
    def build() -> None:
        with engine_cache.new_file("a" * 64, tmp_path) as file:
            file.write_bytes(CONTENT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build()
    assert list(engine_cache.place(tmp_path).iterdir()) == []


def test_what_a_killed_build_left_is_a_stray(tmp_path):
    _add(tmp_path, _facts())
    context = engine_cache.new_file("b" * 64, tmp_path)
    partial = context.__enter__()
    assert engine_cache.strays(tmp_path) == (partial,)
    context.__exit__(None, None, None)


def test_processes_that_add_at_the_same_time_lose_nothing(tmp_path):
    code = """
import sys, msgspec
from pathlib import Path
from starcast.runtime.nvidia.tensorrt import engine_cache
facts = msgspec.json.decode(sys.argv[2], type=engine_cache.EngineFacts)
for number in range(10):
    engine_cache.add(msgspec.structs.replace(facts, key=f"{sys.argv[3]}{number}"), Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", code, str(tmp_path), msgspec.json.encode(_facts()).decode()]
    processes = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    keys = {facts.key for facts in engine_cache.entries(tmp_path)}
    assert keys == {f"{name}{number}" for name in "abc" for number in range(10)}


def test_a_second_build_waits_or_is_told_so(tmp_path):
    with engine_cache.building(tmp_path):
        code = """
import sys
from pathlib import Path
from starcast.runtime.nvidia.tensorrt import engine_cache
try:
    with engine_cache.building(Path(sys.argv[1])):
        pass
except TimeoutError:
    sys.exit(7)
"""
        command = [sys.executable, "-c", code, str(tmp_path)]
        assert subprocess.run(command, timeout=60).returncode == 7
    assert subprocess.run(command, timeout=60).returncode == 0
