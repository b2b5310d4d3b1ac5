from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from starcast.errors import BundleError
from starcast.export.destination import writable_target


def bundle_at(path: Path, *, format: int = 1) -> Path:
    """A folder with a bundle's manifest and one listed file."""
    (path / "generator").mkdir(parents=True)
    (path / "generator/plain-fp32.onnx").write_bytes(b"graph")
    files = {"generator/plain-fp32.onnx": {"sha256": "0", "bytes": 5}}
    (path / "manifest.json").write_text(json.dumps({"format": format, "variants": [], "files": files}))
    return path


def test_a_new_folder_may_be_written(tmp_path: Path) -> None:
    assert writable_target(tmp_path / "new" / "model") == (tmp_path / "new" / "model").resolve()


def test_an_empty_folder_may_be_written(tmp_path: Path) -> None:
    assert writable_target(tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize("format", [1, 99])
def test_an_old_bundle_may_be_replaced_whatever_its_format(tmp_path: Path, format: int) -> None:
    bundle = bundle_at(tmp_path / "model", format=format)
    (bundle / ".DS_Store").write_bytes(b"")
    assert writable_target(bundle) == bundle.resolve()


def test_a_damaged_bundle_may_be_replaced(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (bundle / "generator/plain-fp32.onnx").unlink()
    assert writable_target(bundle) == bundle.resolve()


def test_a_folder_of_someone_elses_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=r"not a bundle \(a.jpg, b.jpg, c.jpg and 2 more\), which would be lost"):
        writable_target(tmp_path)


def test_a_bundle_with_someone_elses_file_inside_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (bundle / "out").mkdir()
    (bundle / "out/cat.png").write_bytes(b"picture")
    with pytest.raises(BundleError, match=r"not its own \(out/cat.png\)"):
        writable_target(bundle)
    assert (bundle / "out/cat.png").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 1, "variants": [], "files": []}'])
def test_another_programs_manifest_makes_no_bundle(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        writable_target(tmp_path)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file: give a folder"):
        writable_target(tmp_path / "model")


def test_an_interrupted_replacement_is_repaired_first(tmp_path: Path) -> None:
    bundle_at(tmp_path / ".replaced-model")
    assert (writable_target(tmp_path / "model") / "manifest.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_is_followed(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (tmp_path / "link").symlink_to(bundle)
    assert writable_target(tmp_path / "link") == bundle.resolve()
