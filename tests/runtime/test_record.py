from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.record import fingerprint, read_runs, record_beside, source_fingerprint, write_record

STYLES = [{"label": "dog-7", "domain": "dog", "seed": 7, "psi": 1.0}]
ENGINE = {"name": "openvino"}


@dataclass(frozen=True, kw_only=True)
class Options(CheckedOptions):
    ref: Path | None = option(None, "A path.")
    batch: int = option(4, "A number.")


def test_a_record_holds_what_is_needed_to_make_the_images_again(tmp_path, tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    path = tmp_path / "starcast.json"
    write_record(path, bundle, Options(ref=Path("a/b.png")), STYLES, engine=ENGINE, sources=[], counts={"done": 3})
    (run,) = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert run["bundle"] == {"name": "tiny", "sha256": bundle.sha256}
    assert run["styles"] == STYLES
    assert run["options"] == {"ref": str(Path("a/b.png")), "batch": 4}
    assert run["engine"] == ENGINE
    assert run["counts"] == {"done": 3}
    assert run["starcast"]
    assert run["finished"].endswith("+00:00")


def test_a_repeated_run_takes_the_place_of_the_earlier_and_others_stay(tmp_path, tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    path = tmp_path / "starcast.json"
    write_record(path, bundle, Options(), STYLES, engine=ENGINE, sources=[], counts={"done": 1})
    write_record(path, bundle, Options(batch=8), STYLES, engine=ENGINE, sources=[], counts={"done": 2})
    write_record(path, bundle, Options(), STYLES, engine=ENGINE, sources=[], counts={"done": 3})
    assert [(run["options"]["batch"], run["counts"]["done"]) for run in read_runs(path)] == [(8, 2), (4, 3)]


def test_the_history_is_bounded(tmp_path, tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    path = tmp_path / "starcast.json"
    for batch in range(1, 111):
        write_record(path, bundle, Options(batch=batch), STYLES, engine=ENGINE, sources=[])
    assert [run["options"]["batch"] for run in read_runs(path)] == list(range(11, 111))


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '{"format": 1, "runs": 3}', '{"format": 99, "runs": [{}]}'])
def test_a_file_that_is_no_record_counts_as_none(tmp_path, content):
    (tmp_path / "starcast.json").write_text(content)
    assert read_runs(tmp_path / "starcast.json") == []


def test_names_of_undecodable_bytes_can_be_recorded(tmp_path, tiny_bundle):
    path = tmp_path / "starcast.json"
    write_record(path, open_bundle(tiny_bundle), Options(), [], engine=ENGINE, sources=["caf\udce9.png", "画像.png"])
    assert read_runs(path)[0]["sources"] == ["caf\udce9.png", "画像.png"]
    assert "画像" in path.read_text(encoding="utf-8")


def test_the_record_of_one_file_stands_beside_it():
    assert record_beside(Path("out/film.mp4")) == Path("out/film.mp4.json")


def test_fingerprints_tell_facts_apart_and_not_their_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint({})) == 16


@pytest.mark.parametrize("size", [0, 10, 2**16, 2**17 + 5])
def test_a_source_is_told_from_another_by_size_and_edges(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    (tmp_path / "b").write_bytes(content[:size])
    (tmp_path / "c").write_bytes(content[:size] + b"x")
    assert source_fingerprint(tmp_path / "a") == source_fingerprint(tmp_path / "b")
    assert source_fingerprint(tmp_path / "a") != source_fingerprint(tmp_path / "c")
    if size:
        (tmp_path / "b").write_bytes(content[: size - 1] + b"\xfe")
        assert source_fingerprint(tmp_path / "a") != source_fingerprint(tmp_path / "b")
