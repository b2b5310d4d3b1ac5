from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starcast.errors import BundleError
from starcast.runtime.bundle import LARGEST_MANIFEST, open_bundle
from starcast.runtime.manifest import FORMAT, MANIFEST, Manifest
from starcast.runtime.manifest_json import decode, encode

GENERATOR = "generator/plain-fp32.onnx"


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def _change(bundle: Path, change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_whole_bundle_opens_and_its_files_are_as_the_manifest_says(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    assert bundle.manifest.domains == ("cat", "dog", "wild")
    assert {bundle.file(name) for name in bundle.manifest.files} == {
        tiny_bundle / name for name in (GENERATOR, "mapping.onnx", "style_encoder.onnx", "styles.npz")
    }


def test_a_manifest_reads_back_as_it_was_written(tiny_bundle):
    manifest = open_bundle(tiny_bundle).manifest
    assert msgspec.json.decode(encode(manifest), type=Manifest) == manifest


def test_the_hash_of_a_bundle_changes_with_its_manifest(bundle, rewrite_manifest):
    before = open_bundle(bundle).sha256
    rewrite_manifest(bundle, domains=("a", "b", "c"))
    assert open_bundle(bundle).sha256 != before


@pytest.mark.parametrize("change", [
    lambda manifest: manifest.update(licence="CC0"),
    lambda manifest: manifest["provenance"].update(commit="abc"),
    lambda manifest: manifest["variants"][0]["parity"].update(mean=0.0),
    lambda manifest: manifest["files"]["mapping.onnx"].update(blake3="0"),
], ids=["manifest", "provenance", "parity", "file"])  # fmt: skip
def test_descriptions_and_figures_of_a_later_writer_are_ignored(bundle, change):
    _change(bundle, change)
    assert open_bundle(bundle).manifest.domains == ("cat", "dog", "wild")


@pytest.mark.parametrize(("change", "unknown"), [
    (lambda manifest: manifest["source"].update(colours="linear"), "'colours' in its source"),
    (lambda manifest: manifest["condition"].update(text={"graph": "text.onnx"}), "'text' in its condition"),
    (lambda manifest: manifest["condition"].update(text=None, sound=1), "'text', 'sound' in its condition"),
    (lambda manifest: manifest["condition"]["latent"].update(law="uniform"), "'law' in its condition.latent"),
    (lambda manifest: manifest["condition"]["reference"].update(mask=True), "'mask' in its condition.reference"),
    (lambda manifest: manifest["condition"].update(labels={"names": ["a"], "soft": 1}),
     "'soft' in its condition.labels"),
    (lambda manifest: manifest["condition"].update(product={"graph": "p.onnx", "input": "w"}),
     "'input' in its condition.product"),
    (lambda manifest: manifest["variants"][0].update(noise="seeded"), "'noise' in its variants"),
    (lambda manifest: manifest["variants"][0].update(condition="attention"), "condition 'attention' in its variants"),
    (lambda manifest: manifest["variants"][0].update(adain="triton"), "adain 'triton' in its variants"),
    (lambda manifest: manifest["variants"][0].update(rest="fp16"), "rest 'fp16' in its variants"),
], ids=["source", "role", "roles", "latent", "reference", "labels", "product", "variant", "condition", "adain",
        "rest"])  # fmt: skip
def test_what_would_change_the_result_and_is_unknown_is_refused(bundle, change, unknown):
    _change(bundle, change)
    with pytest.raises(BundleError, match=rf"manifest\.json has {unknown}, which this .* not know: update starcast$"):
        open_bundle(bundle)


def test_an_extra_input_that_nothing_here_makes_is_refused(bundle):
    masks = {"name": "masks", "dtype": "float32", "shape": ["N", 1, 32, 32]}
    _change(bundle, lambda manifest: manifest.update(extra_inputs=[masks, {**masks, "name": "noise"}]))
    with pytest.raises(BundleError, match="needs the extra input 'masks', 'noise', which .* cannot make: update star"):
        open_bundle(bundle)


def test_a_folder_opens_from_inside(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    assert open_bundle(Path()).manifest.domains == ("cat", "dog", "wild")
    monkeypatch.chdir(bundle / "generator")
    assert open_bundle(Path("..")).manifest.domains == ("cat", "dog", "wild")


@pytest.mark.parametrize(("make", "why"), [
    (lambda path: None, "it does not exist"),
    (lambda path: path.mkdir(), "it has no manifest.json"),
    (lambda path: path.write_text("x"), "it is a file"),
    (lambda path: (path / MANIFEST).mkdir(parents=True), "it has no manifest.json"),
], ids=["nothing", "empty", "file", "folder as manifest"])  # fmt: skip
def test_what_is_no_bundle_is_said_to_be_none(tmp_path, make, why):
    make(tmp_path / "x")
    with pytest.raises(BundleError, match=rf"x is not a bundle \({why}\): make one with `starcast export"):
        open_bundle(tmp_path / "x")


@pytest.mark.parametrize("content", [
    b"", b"{", b"nonsense", b"\xff\xfe{", b"[]", b"null", b"7", b'"format"', b"[" * 100_000,
    b'{"format": ' + b"9" * 5000,
], ids=["empty", "cut", "text", "not UTF-8", "list", "null", "number", "string", "deep", "long number"])  # fmt: skip
def test_a_manifest_that_is_not_json_is_named(bundle, content):
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is not a manifest in JSON .*export the bundle again"):
        open_bundle(bundle)


def test_a_huge_manifest_is_refused_before_it_is_read(bundle):
    with (bundle / MANIFEST).open("ab") as file:
        file.truncate(LARGEST_MANIFEST + 1)
    with pytest.raises(BundleError, match="is too large for a manifest"):
        open_bundle(bundle)


def test_a_newer_format_asks_for_a_newer_starcast(bundle):
    _change(bundle, lambda manifest: manifest.update(format=FORMAT + 1, source="of another kind"))
    with pytest.raises(BundleError, match=rf"format {FORMAT + 1}, newer than .* \({FORMAT}\): update starcast"):
        open_bundle(bundle)


@pytest.mark.parametrize("declared", [None, "1", 0, -3, 1.5])
def test_a_manifest_without_a_format_number_is_not_starcasts(bundle, declared):
    _change(bundle, lambda manifest: manifest.update(format=declared))
    with pytest.raises(BundleError, match="no format number, so it is not starcast's"):
        open_bundle(bundle)


@pytest.mark.parametrize("change", [
    lambda manifest: manifest.pop("condition"),
    lambda manifest: manifest["source"].update(stride=0),
    lambda manifest: manifest["source"].update(height=-32),
    lambda manifest: manifest["source"].update(width="32"),
    lambda manifest: manifest["condition"].update(size=2**40),
    lambda manifest: manifest["condition"].update(labels={"names": ["a", "b"]}),
    lambda manifest: manifest["condition"].update(labels={"names": [*"abcdefg", "\x1b[2J"]}),
    lambda manifest: manifest["condition"].update(labels={"names": [*"abcdefg", ""]}),
    lambda manifest: manifest["variants"][0].update(max_batch=0),
    lambda manifest: manifest["variants"][0].update(sizes=[[32]]),
    lambda manifest: manifest.update(files=[]),
    lambda manifest: manifest.update(domains=[]),
    lambda manifest: manifest.update(domains=["cat", "dog", "cat"]),
    lambda manifest: manifest.update(domains=["cat", "dog", ""]),
    lambda manifest: manifest.update(domains=["cat", "dog", "wi\nld"]),
], ids=["no condition", "stride 0", "negative", "text for a number", "vast style", "labels of another number",
        "label of control characters", "empty label",
        "batch 0", "size of one side",
        "files as a list", "no domains", "domain twice", "empty domain", "line break"])  # fmt: skip
def test_a_manifest_with_impossible_values_is_damaged(bundle, change):
    _change(bundle, change)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged \(.*\): export the bundle again"):
        open_bundle(bundle)


def test_a_generators_manifest_reads_back_as_it_was_written(generator_bundle):
    manifest = open_bundle(generator_bundle).manifest
    assert decode(encode(manifest), Path(MANIFEST)) == manifest
    assert (manifest.source, manifest.domains, manifest.trained_size) == (None, (), (16, 16))
    assert manifest.condition.shape == (4, 6)
    assert manifest.inputs_of(GENERATOR) == {
        "style": (None, 4, 6), "noise_0": (None, 1, 8, 8), "noise_1": (None, 1, 16, 16)
    }  # fmt: skip
    assert manifest.inputs_of("mapping.onnx") == {"latent": (None, 4)}


def test_a_bundle_of_translations_stays_readable_for_an_older_starcast(tiny_bundle):
    written = json.loads(encode(open_bundle(tiny_bundle).manifest))
    assert set(written["condition"]) == {"size", "latent", "reference", "means", "mean_draws"}


def _rename_noise(manifest: dict, name: str) -> None:
    manifest["noise"]["inputs"][0]["name"] = name


@pytest.mark.parametrize("change", [
    lambda manifest: manifest.update(output=None),
    lambda manifest: manifest.update(source={"channels": 3, "height": 16, "width": 16, "stride": 4}),
    lambda manifest: manifest.update(
        source={"channels": 3, "height": 16, "width": 16, "stride": 4}, output=None, domains=["cat"], noise=None
    ),
    lambda manifest: manifest["output"].update(channels=2),
    lambda manifest: manifest["output"].update(height=0),
    lambda manifest: manifest["output"].update(width=2**15),
    lambda manifest: manifest["condition"].update(layers=0),
    lambda manifest: manifest["condition"].update(layers=2**20),
    lambda manifest: manifest["condition"].update(layers=2**10, size=2**20),
    lambda manifest: manifest["noise"].update(inputs=[]),
    lambda manifest: manifest["noise"].update(inputs=[{"name": "n", "height": 2**14, "width": 2**14}]),
    lambda manifest: manifest["noise"].update(inputs=[{"name": f"n{i}", "height": 1, "width": 1} for i in range(1025)]),
    lambda manifest: _rename_noise(manifest, "noise_1"),
    lambda manifest: _rename_noise(manifest, "style"),
    lambda manifest: _rename_noise(manifest, ""),
    lambda manifest: _rename_noise(manifest, "a\nb"),
    lambda manifest: manifest.update(domains=["cat", "cat"]),
], ids=["no output", "source and output", "layers beside a source", "two channels", "no height", "vast width",
        "no layers", "many layers", "vast styles", "no noise", "vast noise", "many inputs", "noise twice",
        "noise named style", "noise without a name", "line break", "domain twice"])  # fmt: skip
def test_a_generators_manifest_with_impossible_values_is_damaged(generator_bundle, tmp_path, change):
    bundle = Path(shutil.copytree(generator_bundle, tmp_path / "bundle"))
    _change(bundle, change)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged \(.*\): export the bundle again"):
        open_bundle(bundle)


@pytest.mark.parametrize(("change", "unknown"), [
    (lambda manifest: manifest["output"].update(colours="linear"), "'colours' in its output"),
    (lambda manifest: manifest["noise"].update(law="uniform"), "'law' in its noise"),
    (lambda manifest: manifest["noise"]["inputs"][1].update(channels=2), "'channels' in its noise"),
], ids=["output", "noise", "input"])  # fmt: skip
def test_what_would_change_what_is_generated_and_is_unknown_is_refused(generator_bundle, tmp_path, change, unknown):
    bundle = Path(shutil.copytree(generator_bundle, tmp_path / "bundle"))
    _change(bundle, change)
    with pytest.raises(BundleError, match=rf"manifest\.json has {unknown}, which this .* not know: update starcast$"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", [
    "../outside", "generator/../../outside", "/etc/passwd", "C:/outside", "..\\outside", "", ".", "a\0b", "a\nb",
])  # fmt: skip
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(bundle, name):
    (bundle.parent / "outside").write_bytes(b"secret")
    _change(bundle, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "bytes": 6}}))
    with pytest.raises(BundleError, match="outside the bundle: do not use this bundle"):
        open_bundle(bundle)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_that_leads_out_of_the_bundle_is_refused(bundle):
    outside = bundle.parent / "outside.onnx"
    (bundle / "mapping.onnx").rename(outside)
    (bundle / "mapping.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"mapping\.onnx is a link that leads out of the bundle"):
        open_bundle(bundle)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_bundle_may_be_reached_through_a_link_and_hold_links_inside(bundle):
    (bundle / "mapping.onnx").rename(bundle / "generator/other")
    (bundle / "mapping.onnx").symlink_to("generator/other")
    (bundle.parent / "link").symlink_to(bundle)
    assert open_bundle(bundle.parent / "link").file("mapping.onnx").is_file()


def test_a_missing_file_is_named(bundle):
    (bundle / "styles.npz").unlink()
    with pytest.raises(BundleError, match=r"styles\.npz is missing: copy the whole folder again"):
        open_bundle(bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(bundle):
    (bundle / "styles.npz").unlink()
    os.mkfifo(bundle / "styles.npz")
    with pytest.raises(BundleError, match=r"styles\.npz is missing"):
        open_bundle(bundle)


def test_a_truncated_file_is_named_when_the_bundle_is_opened(bundle):
    content = (bundle / GENERATOR).read_bytes()
    (bundle / GENERATOR).write_bytes(content[:-9])
    with pytest.raises(BundleError, match=f"has {len(content) - 9} bytes instead of {len(content)}"):
        open_bundle(bundle)


def test_changed_bytes_are_found_before_the_file_is_used(bundle):
    content = bytearray((bundle / GENERATOR).read_bytes())
    content[-40] ^= 1
    (bundle / GENERATOR).write_bytes(content)
    opened = open_bundle(bundle)
    with pytest.raises(BundleError, match=r"plain-fp32\.onnx has changed since it was exported"):
        opened.graph(GENERATOR)


def test_a_file_that_the_manifest_does_not_list_is_not_used(tiny_bundle):
    with pytest.raises(BundleError, match=r"does not list 'extra\.onnx'"):
        open_bundle(tiny_bundle).file("extra.onnx")
    with pytest.raises(BundleError, match="does not list"):
        open_bundle(tiny_bundle).graph(str(Path(__file__)))


def _add_weights(bundle: Path, name: str, content: bytes) -> None:
    """The file of that name, as the weights of the generator."""
    (bundle / name).write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def change(manifest):
        manifest["files"][name] = facts
        manifest["variants"][0]["weights"] = [name]

    _change(bundle, change)


def test_the_weights_beside_a_graph_are_checked_and_count_in_its_digest(bundle):
    name = "generator/shared.data"

    def digest(content: bytes) -> str:
        _add_weights(bundle, name, content)
        return open_bundle(bundle).graph(GENERATOR)[1]

    plain, alone = open_bundle(bundle).graph(GENERATOR)[1], open_bundle(bundle).graph_bytes(GENERATOR)
    assert len({plain, digest(b"one"), digest(b"two")}) == 3
    assert open_bundle(bundle).graph_bytes(GENERATOR) == alone + 3
    (bundle / name).write_bytes(b"six")
    with pytest.raises(BundleError, match=r"shared\.data has changed"):
        open_bundle(bundle).graph(GENERATOR)


def test_only_the_weights_that_a_graph_lists_are_read(bundle):
    _add_weights(bundle, "generator/other.data", b"other")
    _add_weights(bundle, "generator/own.data", b"own")
    opened = open_bundle(bundle)
    (bundle / "generator/other.data").write_bytes(b"OTHER")
    opened.graph(GENERATOR)
    (bundle / "generator/own.data").write_bytes(b"OWN")
    with pytest.raises(BundleError, match=r"own\.data has changed"):
        opened.graph(GENERATOR)


def test_an_interrupted_overwrite_is_repaired_when_the_bundle_is_opened(bundle):
    bundle.rename(bundle.with_name(".replaced-bundle"))
    assert open_bundle(bundle).manifest.domains == ("cat", "dog", "wild")
    assert not bundle.with_name(".replaced-bundle").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_in_a_manifest_gives_a_bundle_or_a_sentence(tmp_path, tiny_bundle, generator_bundle, data):
    original = data.draw(st.sampled_from([tiny_bundle, generator_bundle]))
    manifest = json.loads((original / MANIFEST).read_text())
    place = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    odd = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    place[key] = data.draw(odd)
    folder = tmp_path / original.name
    if not folder.exists():
        shutil.copytree(original, folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    sentence = ""
    try:
        open_bundle(folder)
    except BundleError as error:
        sentence = str(error)
    assert len(sentence.splitlines()) <= 1
