from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime import record
from starcast.runtime.bundle import open_bundle
from starcast.runtime.record import (
    fingerprint,
    interrupted_since,
    is_record,
    read_runs,
    record_beside,
    refuse_foreign_record,
    run_facts,
    write_record,
)

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


def test_a_record_that_would_be_too_large_loses_its_oldest_runs(tmp_path, tiny_bundle, monkeypatch):
    bundle = open_bundle(tiny_bundle)
    path = tmp_path / "starcast.json"
    monkeypatch.setattr(record, "RECORD_BYTES", 3000)
    for batch in range(1, 9):
        write_record(path, bundle, Options(batch=batch), STYLES, engine=ENGINE, sources=[])
        assert path.stat().st_size <= 3000
    assert [run["options"]["batch"] for run in read_runs(path)] == [4, 5, 6, 7, 8]


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


BEGAN_NS = 1_790_000_000_123_456_789


def _write_run(path: Path, bundle: Path, options: Options, **course: object) -> dict[str, object]:
    opened = open_bundle(bundle)
    write_record(path, opened, options, STYLES, engine=ENGINE, sources=["in"], began_ns=BEGAN_NS, **course)
    return run_facts(opened, options, STYLES, ["in"])


def test_a_run_that_was_interrupted_is_known_with_its_beginning_until_it_is_finished(tmp_path, tiny_bundle):
    path = tmp_path / "starcast.json"
    facts = _write_run(path, tiny_bundle, Options(), finished=False)
    assert interrupted_since(path, facts) == BEGAN_NS // 1000 * 1000
    _write_run(path, tiny_bundle, Options(batch=8))
    assert interrupted_since(path, facts) == BEGAN_NS // 1000 * 1000
    assert interrupted_since(path, {**facts, "sources": ["elsewhere"]}) is None
    _write_run(path, tiny_bundle, Options(), counts={"translated": 3})
    assert interrupted_since(path, facts) is None


def test_a_run_that_another_engine_finished_is_finished(tmp_path, tiny_bundle):
    path = tmp_path / "starcast.json"
    facts = _write_run(path, tiny_bundle, Options(), finished=False)
    write_record(path, open_bundle(tiny_bundle), Options(), STYLES, engine={"name": "ncnn"}, sources=["in"])
    assert interrupted_since(path, facts) is None


@pytest.mark.parametrize("began", [None, 3, "yesterday", "0001-01-01T00:00:00", "9999-12-31"])
def test_a_beginning_that_is_none_is_ignored(tmp_path, tiny_bundle, began):
    path = tmp_path / "starcast.json"
    facts = _write_run(path, tiny_bundle, Options(), finished=False)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["runs"][0]["began"] = began
    path.write_text(json.dumps(content), encoding="utf-8")
    assert interrupted_since(path, facts) is None


FOREIGN = {
    "photo service": b'{"title": "IMG_1.mp4", "geoData": {"latitude": 1.0}}',
    "list": b"[]",
    "no JSON": b"not JSON",
    "empty": b"",
    "bytes": bytes(range(256)),
    "deep": b"[" * 100_000,
    "long number": b"9" * 10_000,
    "format alone": b'{"format": 1}',
    "runs of others": b'{"format": 1, "runs": [{"distance_km": 10}]}',
    "no runs": b'{"format": 1, "runs": []}',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_record_of_ours_is_refused_and_stays(tmp_path, tiny_bundle, content):
    path = tmp_path / "film.mp4.json"
    path.write_bytes(content)
    assert not is_record(path)
    with pytest.raises(
        OptionError, match=r"film\.mp4\.json is .* \(not written by starcast\): move it away, or choose another -o"
    ):
        refuse_foreign_record(path)
    with pytest.raises(OptionError):
        write_record(path, open_bundle(tiny_bundle), Options(), STYLES, engine=ENGINE, sources=[])
    assert path.read_bytes() == content


def test_a_place_that_is_free_or_holds_a_record_is_not_refused(tmp_path, tiny_bundle):
    path = tmp_path / "out" / "starcast.json"
    refuse_foreign_record(path)
    refuse_foreign_record(tmp_path / "no" / "such" / "folder" / "starcast.json")
    write_record(path, open_bundle(tiny_bundle), Options(), STYLES, engine=ENGINE, sources=[])
    assert is_record(path)
    refuse_foreign_record(path)


def test_the_record_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "starcast.json"
    path.write_text('{"format": 99, "runs": [{"starcast": "9.0.0", "bundle": {}}]}')
    assert is_record(path)
    with pytest.raises(OptionError, match="written by another version of starcast"):
        refuse_foreign_record(path)


def test_a_folder_and_a_name_that_is_too_long_are_refused_in_the_systems_words(tmp_path):
    (tmp_path / "film.mp4.json").mkdir()
    with pytest.raises(OptionError, match=r"in the way of this run\'s record \(a folder\)"):
        refuse_foreign_record(tmp_path / "film.mp4.json")
    for folder in (tmp_path, tmp_path / "later"):
        with pytest.raises(OptionError, match="name too long"):
            refuse_foreign_record(record_beside(folder / ("x" * 250 + ".mp4")))


@pytest.mark.skipif(os.name == "nt", reason="links, pipes and sockets are Unix's")
def test_links_pipes_and_sockets_are_refused_and_never_opened(tmp_path, tiny_bundle, monkeypatch):
    ours = tmp_path / "starcast.json"
    write_record(ours, open_bundle(tiny_bundle), Options(), STYLES, engine=ENGINE, sources=[])
    (tmp_path / "link.json").symlink_to(ours)
    (tmp_path / "dangling.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.json")
        for name, words in (("link", "link"), ("dangling", "link"), ("pipe", "pipe"), ("socket", "socket")):
            with pytest.raises(OptionError, match=rf"in the way .*\(a .*{words}"):
                refuse_foreign_record(tmp_path / f"{name}.json")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_file_that_cannot_be_read_is_not_provably_ours(tmp_path):
    (tmp_path / "starcast.json").write_text("{}")
    (tmp_path / "starcast.json").chmod(0)
    with pytest.raises(OptionError, match="permission denied"):
        refuse_foreign_record(tmp_path / "starcast.json")
