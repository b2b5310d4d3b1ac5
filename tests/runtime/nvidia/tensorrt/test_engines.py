from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from starcast.errors import OptionError
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt import engine_cache, engines
from starcast.runtime.nvidia.tensorrt.engine_cache import EngineFacts, EngineSpec

CARD = Gpu("NVIDIA L4", (8, 9), "13.0")
CONTENT = b"vtrt of a test"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """TensorRT for RTX 1.7 and no full TensorRT, with an L4."""
    monkeypatch.setattr(engines, "_versions", lambda: {"tensorrt": None, "tensorrt-rtx": "1.7.1.116"})
    monkeypatch.setattr(engines, "current_gpu", lambda: CARD)


def _added(cache: Path, letter: str, **changes: object) -> EngineFacts:
    spec = EngineSpec(
        bundle="/bundles/cats", role="generator/x.onnx", graph="g" * 64, precision="fp16",
        inputs={"image": ((1, 64, 32, 3), (4, 64, 32, 3), (8, 64, 32, 3))}, flavour="tensorrt-rtx",
        version="1.7.1.116", target="sm89",
    )  # fmt: skip
    of_spec = {name: changes.pop(name) for name in EngineSpec.__struct_fields__ if name in changes}
    facts = EngineFacts(
        spec=msgspec.structs.replace(spec, **of_spec), key=letter * 64, file=f"{letter * 64}.engine",
        sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT), seconds=1.0, built="2026-01-02T00:00:00+00:00",
    )  # fmt: skip
    facts = msgspec.structs.replace(facts, **changes)
    with engine_cache.new_file(facts.key, cache) as file:
        file.write_bytes(CONTENT)
    engine_cache.add(facts, cache)
    return facts


def _keys(folder: Path) -> list[str]:
    return [facts.key[0] for facts in engine_cache.entries(folder)]


def _row(folder: Path) -> str:
    [row] = engines.table(folder).splitlines()[2:]
    return row


def test_an_empty_cache_says_where_it_is_and_what_fills_it(tmp_path):
    said = engines.table(tmp_path)
    assert str(engine_cache.place(tmp_path)) in said
    assert "starcast build BUNDLE" in said


def test_a_row_says_everything_about_an_engine(tmp_path):
    _added(tmp_path, "a")
    row = _row(tmp_path)
    for cell in ("a" * 12, "cats", "generator/x.onnx", "fp16", "sm89", "32x64", "1:4:8", "tensorrt-rtx 1.7.1.116",
                 "2026-01-02"):  # fmt: skip
        assert cell in row.split("  ") or f"  {cell}  " in f"  {row}  "
    assert row.endswith("yes")


@pytest.mark.parametrize(("changes", "reason"), [
    ({"version": "1.6.1.120"}, "it was built by tensorrt-rtx 1.6.1.120, but this is 1.7.1.116"),
    ({"target": "sm120"}, "it was built for sm120, this GPU is sm89"),
    ({"flavour": "tensorrt", "gpu": CARD.name}, "tensorrt is not installed"),
    ({"sha256": "0" * 64}, "its file is damaged"),
])  # fmt: skip
def test_a_row_says_why_an_engine_does_not_fit(tmp_path, changes, reason):
    _added(tmp_path, "a", **changes)
    assert _row(tmp_path).endswith(reason)


def test_an_engine_is_removed_by_the_beginning_of_its_key(tmp_path):
    _added(tmp_path, "a")
    _added(tmp_path, "b")
    assert engines.remove(["aaaa"], folder=tmp_path) == "1 engine removed (0.0 MB)."
    assert _keys(tmp_path) == ["b"]


@pytest.mark.parametrize(("keys", "said"), [
    (["c"], "no engine's key begins with 'c'"),
    ([""], "no engine's key begins with ''"),
    ([], "give keys of engines"),
])  # fmt: skip
def test_a_key_that_is_not_there_removes_nothing(tmp_path, keys, said):
    _added(tmp_path, "a")
    with pytest.raises(OptionError, match=said):
        engines.remove(keys, folder=tmp_path)
    assert _keys(tmp_path) == ["a"]


def test_a_key_that_names_several_removes_none(tmp_path):
    _added(tmp_path, "a", key="ab" * 32)
    _added(tmp_path, "a", key="ac" * 32)
    with pytest.raises(OptionError, match="the keys of several engines begin with 'a'"):
        engines.remove(["a"], folder=tmp_path)


@pytest.mark.parametrize("name", ["dogs", "/bundles/dogs"])
def test_a_bundles_engines_are_removed_by_its_name_or_path(tmp_path, name):
    _added(tmp_path, "a")
    _added(tmp_path, "b", bundle="/bundles/dogs")
    engines.remove([], name, tmp_path)
    assert _keys(tmp_path) == ["a"]


def test_a_bundle_that_was_never_built_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="no engine was built from dogs"):
        engines.remove([], "dogs", tmp_path)


def test_prune_removes_what_will_not_run_here_again_and_nothing_else(tmp_path):
    _added(tmp_path, "a")
    _added(tmp_path, "b", version="1.6.1.120")
    _added(tmp_path, "c", target="sm120")  # for another machine's card
    _added(tmp_path, "d", flavour="tensorrt", version="11.4", gpu=CARD.name)  # not installed: who knows
    _added(tmp_path, "e", sha256="0" * 64)
    _added(tmp_path, "f")
    (engine_cache.place(tmp_path) / ("f" * 64 + ".engine")).unlink()
    _added(tmp_path, "0", gpu=CARD.name, driver="12.8")
    assert engines.prune(folder=tmp_path) == "4 engines removed (0.0 MB)."
    assert _keys(tmp_path) == ["a", "c", "d"]


def test_prune_removes_files_that_no_index_names(tmp_path):
    kept = _added(tmp_path, "a")
    where = engine_cache.place(tmp_path)
    (where / "stray.engine").write_bytes(b"")
    (where / "timings-1").write_bytes(b"")
    engines.prune(folder=tmp_path)
    assert {path.name for path in where.iterdir() if path.suffix != ".lock"} == {kept.file, "index.json", "timings-1"}


def test_prune_leaves_the_file_of_a_build_that_is_running(tmp_path):
    _added(tmp_path, "a")
    partial = engine_cache.place(tmp_path) / ".starcast-partial-b.engine"
    partial.write_bytes(b"")
    with engine_cache.building(tmp_path):
        engines.prune(folder=tmp_path)
    assert partial.exists()
    engines.prune(folder=tmp_path)
    assert not partial.exists()


def test_prune_of_everything_leaves_no_engine(tmp_path):
    _added(tmp_path, "a")
    engines.prune(True, tmp_path)
    assert _keys(tmp_path) == []
    assert engine_cache.strays(tmp_path) == ()
