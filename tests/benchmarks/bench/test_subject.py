"""A bundle is measured beside the very checkpoint that it was exported from."""

from __future__ import annotations

import hashlib
import shutil

import msgspec
import pytest

from starcast.benchmarks.bench import random_weights
from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.subject import checkpoint_of, open_subject, place_of
from starcast.benchmarks.options import BenchOptions
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
    with pytest.raises(OptionError, match="--random-weights afhq"), open_subject(None, BenchOptions(), Cpu()):
        pass


def test_a_made_checkpoint_excludes_a_given_one(tmp_path):
    options = BenchOptions(config="afhq", checkpoint=tmp_path / "mine.pt")
    with pytest.raises(OptionError, match="--checkpoint"), open_subject(None, options, Cpu()):
        pass


def test_a_quick_bundle_has_a_place_of_its_own_unless_a_whole_one_is_there(tmp_path, tiny_bundle):
    place = tmp_path / "afhq"
    assert place_of(place, quick=True) == tmp_path / "afhq-quick"
    assert place_of(place, quick=False) == place
    shutil.copytree(tiny_bundle, place)
    (tmp_path / "afhq.pt").write_bytes(CONTENT)
    assert place_of(place, quick=True) == place


@pytest.mark.slow
def test_random_networks_are_exported_once_and_kept_where_they_were_asked_for(tmp_path, monkeypatch):
    small = StarGANv2Config(
        image_size=32, domains=2, style_dim=4, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
    )
    monkeypatch.setitem(random_weights.CONFIGS, "afhq", (small, ("cat", "dog")))
    options, said = BenchOptions(config="afhq"), []
    with open_subject(tmp_path / "kept", options, Cpu(), said.append) as first:
        assert first.bundle.manifest.domains == ("cat", "dog")
        assert said
    said.clear()
    with open_subject(tmp_path / "kept", options, Cpu(), said.append) as second:
        assert second.bundle.sha256 == first.bundle.sha256
        assert second.checkpoint == first.checkpoint
        assert said == []
