"""A bundle is measured beside the very checkpoint that it was exported from."""

from __future__ import annotations

import hashlib
import shutil

import msgspec
import pytest

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.subject import checkpoint_of, open_subject
from starcast.benchmarks.options import SubjectOptions
from starcast.errors import OptionError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.manifest import MANIFEST, Manifest
from starcast.train.families.stargan_v2.networks import StarGANv2Config

CONTENT = b"weights"


@pytest.fixture
def bundle(tiny_bundle, tmp_path, monkeypatch, rewrite_manifest):
    """A bundle that was exported from a file tiny.pt, which is nowhere; the working folder is an empty one."""
    folder = tmp_path / "here" / "bundle"
    shutil.copytree(tiny_bundle, folder)
    origin = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).provenance
    digest = hashlib.sha256(CONTENT).hexdigest()
    rewrite_manifest(folder, provenance=msgspec.structs.replace(origin, checkpoint_sha256=digest))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return open_bundle(folder)


@pytest.mark.parametrize(
    "place", ["here/tiny.pt", "here/run/tiny.pt", "here/run/checkpoints/tiny.pt", "elsewhere/run/checkpoints/tiny.pt"]
)
def test_the_checkpoint_is_found_beside_the_bundle_and_in_the_working_folder(bundle, tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CONTENT)
    assert checkpoint_of(bundle) == file


def test_another_file_of_that_name_is_passed_over(bundle, tmp_path):
    (tmp_path / "here/tiny.pt").write_bytes(b"other weights")
    with pytest.raises(OptionError, match=r"tiny\.pt.*--checkpoint"):
        checkpoint_of(bundle)
    right = tmp_path / "here/run/checkpoints/tiny.pt"
    right.parent.mkdir(parents=True)
    right.write_bytes(CONTENT)
    assert checkpoint_of(bundle) == right


def test_a_given_checkpoint_must_be_the_bundles(bundle, tmp_path):
    file = tmp_path / "given.pt"
    file.write_bytes(CONTENT)
    assert checkpoint_of(bundle, file) == file
    file.write_bytes(b"other weights")
    with pytest.raises(OptionError, match="not what"):
        checkpoint_of(bundle, file)


def test_there_must_be_something_to_measure():
    with pytest.raises(OptionError, match="--random-weights afhq"), open_subject(None, SubjectOptions(), Cpu()):
        pass


def test_a_made_checkpoint_excludes_a_given_one(tmp_path):
    options = SubjectOptions(config="afhq", checkpoint=tmp_path / "mine.pt")
    with pytest.raises(OptionError, match="--checkpoint"), open_subject(None, options, Cpu()):
        pass


SMALL = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
)


def test_a_quick_bundle_is_not_gated_says_so_and_has_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("starcast.benchmarks.bench.subject.original_config", lambda _: (SMALL, ("cat", "dog")))
    monkeypatch.setattr("starcast.benchmarks.bench.subject.export_random", lambda *_: pytest.fail("it takes minutes"))
    options = SubjectOptions(config="afhq")
    with open_subject(tmp_path / "kept", options, Cpu(), quick=True) as subject:
        assert subject.bundle.path == tmp_path / "kept-quick"
        assert subject.checkpoint == tmp_path / "kept-quick.pt"
        variants = subject.bundle.manifest.variants
        assert {variant.precision for variant in variants} <= {"fp32", "bf16"}
        assert all(variant.parity is variant.quality is None for variant in variants)
        assert (subject.folder / "plain.onnx").is_file()  # nothing is traced twice
        assert "without the export's gates" in subject.remarks[0]
        assert "int8" in subject.left_out[0].name
        digest = subject.bundle.sha256
    with open_subject(tmp_path / "kept", options, Cpu(), quick=True) as again:
        assert again.bundle.sha256 == digest


def test_quick_takes_a_whole_bundle_that_is_there(tmp_path, bundle):
    place = tmp_path / "afhq"
    shutil.copytree(bundle.path, place)
    (tmp_path / "afhq.pt").write_bytes(CONTENT)
    with open_subject(place, SubjectOptions(config="afhq"), Cpu(), quick=True) as subject:
        assert subject.bundle.path == place
        assert subject.left_out == subject.remarks == ()
