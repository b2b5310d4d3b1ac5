"""A bundle from a stranger: whatever its numbers claim, it runs as before or is refused in one sentence.

Each attempt runs in a process that may use 2 GiB of memory, which is far less than what the numbers claim.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starcast.errors import BundleError
from starcast.runtime.manifest import MANIFEST
from starcast.runtime.manifest_json import decode
from starcast.runtime.stored_arrays import read_means

# opens each bundle, and prints how it went: `fine`, or the error's class and message
ATTEMPTS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30, 2 * 2**30))
import numpy as np
from starcast.errors import StarcastError
from starcast.runtime import Translator
for bundle in sys.argv[2:]:
    try:
        with Translator(bundle, backend=sys.argv[1], threads=1) as translator:
            height, width = translator.size
            style = translator.style(domain=0, seed=1)
            translator.style(domain=0, seed=1, psi=0.5)
            translator.style(domain=0, reference=np.zeros((9, 9, 3), np.uint8))
            translator(np.zeros((1, 32, 32, 3), np.uint8), style)
        print("fine")
    except StarcastError as error:
        print(f"{type(error).__name__}: {error}")
    except BaseException as error:
        print(f"not an error of ours: {error!r}")
"""
GENERATE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30, 2 * 2**30))
from starcast.errors import StarcastError
from starcast.runtime import Translator
for bundle in sys.argv[2:]:
    try:
        with Translator(bundle, backend=sys.argv[1], threads=1) as generator:
            style = generator.style(seed=1, psi=0.5)
            for noise in ("constant", "zero", 1):
                generator.generate(style, noise)
        print("fine")
    except StarcastError as error:
        print(f"{type(error).__name__}: {error}")
    except BaseException as error:
        print(f"not an error of ours: {error!r}")
"""
BIG = 2**31

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited with setrlimit")


def attempts(bundles: list[Path], backend: str = "onnxruntime", script: str = ATTEMPTS) -> list[str]:
    """How opening and using each bundle went, in one process."""
    command = [sys.executable, "-c", script, backend, *map(str, bundles)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stderr.strip(), done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.fixture
def changed(tmp_path, tiny_bundle):
    """A function (change) -> a copy of the tiny bundle whose manifest `change` has edited, hashes refreshed."""
    copies: list[Path] = []

    def make(
        change: Any = lambda manifest: None, files: dict[str, bytes] | None = None, of: Path = tiny_bundle
    ) -> Path:
        bundle = Path(shutil.copytree(of, tmp_path / str(len(copies))))
        copies.append(bundle)
        for name, content in (files or {}).items():
            (bundle / name).write_bytes(content)
        manifest = json.loads((bundle / MANIFEST).read_text())
        for name, facts in manifest["files"].items():
            facts.update(_facts(bundle / name))
        change(manifest)
        (bundle / MANIFEST).write_text(json.dumps(manifest))
        return bundle

    return make


def _facts(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


# the numbers of a manifest by which memory is allocated
PLACES = [
    ("source", "height"), ("source", "width"), ("source", "stride"), ("source", "channels"), ("condition", "size"),
    ("condition", "latent", "size"), ("condition", "reference", "height"), ("condition", "reference", "width"),
    ("variants", 0, "bytes"), ("variants", 0, "max_batch"), ("variants", 0, "working"), ("variants", 0, "sizes"),
    ("files", "styles.npz", "bytes"),
]  # fmt: skip


def _set(manifest: dict[str, Any], place: tuple[str | int, ...], value: object) -> None:
    part: Any = manifest
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value


@linux
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "auto"])
def test_numbers_that_nothing_stands_behind_are_refused_in_a_sentence_and_allocate_nothing(changed, backend):
    values = (BIG, BIG - 1, 2**40, 2**62, 2**100, 2**20, 2**14, 4096)
    cases = [(place, [[value, value]] if place[-1] == "sizes" else value) for place in PLACES for value in values]
    bundles = [changed(lambda manifest, case=case: _set(manifest, *case)) for case in cases]
    for case, outcome in zip(cases, attempts(bundles, backend), strict=True):
        refused = outcome.startswith(("BundleError: ", "EngineError: ")) or "ValueError('sources are 32x32: " in outcome
        assert refused or outcome == "fine", (case, outcome)
        harmless = case[0][-1] in ("max_batch", "working", "bytes") and case[1] < 2**60 and case[0][0] != "files"
        measured = case[0][-1] in ("height", "width") and case[0][0] == "source" and case[1] <= 2**14
        if not (harmless or measured or case[0][-1] == "sizes"):
            assert outcome != "fine", case


@linux
def test_a_generators_false_sizes_are_refused_without_allocating(changed, generator_bundle):
    places: list[tuple[str | int, ...]] = [
        ("output", "height"), ("output", "width"), ("output", "channels"), ("condition", "layers"),
        ("condition", "size"), ("condition", "latent", "size"), ("noise", "inputs", 0, "height"),
        ("noise", "inputs", 1, "width"),
    ]  # fmt: skip
    cases = [(place, value) for place in places for value in (BIG, 2**62, 2**20, 2**14, 1000)]
    bundles = [changed(lambda manifest, case=case: _set(manifest, *case), of=generator_bundle) for case in cases]
    for backend in ("onnxruntime", "openvino"):
        for case, outcome in zip(cases, attempts(bundles, backend, GENERATE), strict=True):
            assert outcome.startswith("BundleError: "), (backend, case, outcome)
    assert attempts([changed(of=generator_bundle)], script=GENERATE) == ["fine"]


def _is_sentence(call: Callable[[], object]) -> bool:
    """Whether a call returns, or raises a BundleError of one short line."""
    try:
        call()
    except BundleError as error:
        return len(str(error).splitlines()) == 1 and len(str(error)) < 1000
    return True


LEAVES = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([0, -1, 1, 2**14, 2**20, 2**31, 2**63, 2**64, 1e308, -0.5]),
    st.booleans(), st.none(), st.text(max_size=8), st.lists(st.integers(0, 2**40), max_size=3),
    st.just("x" * 5000), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def _paths(part: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [at, *(path for name, child in children for path in _paths(child, (*at, name)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_a_manifest_leaves_a_manifest_or_one_sentence(tiny_bundle, generator_bundle, data):
    bundle = data.draw(st.sampled_from([tiny_bundle, generator_bundle]))
    manifest = json.loads((bundle / MANIFEST).read_text())
    changes = data.draw(st.lists(st.tuples(st.sampled_from(_paths(manifest)[1:]), LEAVES), min_size=1, max_size=3))
    for place, value in changes:
        try:
            _set(manifest, place, copy.deepcopy(value))
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change has removed the place
    assert _is_sentence(lambda: decode(json.dumps(manifest).encode(), tiny_bundle / MANIFEST))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "true", "1.5", '"32"', "9" * 400])
def test_a_size_that_is_no_number_of_pixels_is_refused(changed, number):
    bundle = changed()
    text = (bundle / MANIFEST).read_text().replace('"height": 32', f'"height": {number}')
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json (is damaged|is not a manifest in JSON)"):
        decode(text.encode(), bundle / MANIFEST)


@linux
def test_a_graph_that_takes_other_inputs_than_the_manifest_says_is_refused_before_it_runs(changed):
    sizes = [
        lambda manifest: manifest["condition"].update(size=9),
        lambda manifest: manifest["condition"]["latent"].update(size=5),
        lambda manifest: manifest["condition"]["reference"].update(height=64),
    ]
    for backend in ("onnxruntime", "openvino"):
        generator, mapping, encoder = attempts([changed(change) for change in sizes], backend)
        assert "plain-fp32.onnx has the input style [?, 8], which is [?, 9] in manifest.json: export" in generator
        assert "mapping.onnx has the input latent [?, 4], which is [?, 5] in manifest.json: export" in mapping
        assert "style_encoder.onnx has the input image [?, 32, 32, 3], which is [?, 64, 32, 3] in" in encoder


GENERATOR = """
<ir_version: 8, opset_import: ["": 17]>
generator (uint8[N, H, W, 3] image, float[M, 8] style) => (uint8[N, H, W, 3] translation)
<int64[4] huge = {{1, 60000, 60000, 3}}>
{{
    pixels = Cast <to = 1> (image)
    mean = ReduceMean <axes = [1, 2], keepdims = 1> (pixels)
    {layer}
    most = ReduceMax <axes = [1, 2], keepdims = 1> (wide)
    sum = Add (pixels, most)
    translation = Cast <to = 2> (sum)
}}
"""


@linux
@pytest.mark.parametrize("layer", [
    "wide = Expand (mean, huge)", "wide = Tile (mean, huge)", "wide = ConstantOfShape (huge)",
])  # fmt: skip
def test_a_graph_that_fills_the_memory_while_it_runs_is_an_engine_error(changed, layer):
    parser = pytest.importorskip("onnx.parser")
    graph = parser.parse_model(GENERATOR.format(layer=layer)).SerializeToString()
    bundle = changed(files={"generator/plain-fp32.onnx": graph})
    for backend in ("onnxruntime", "openvino"):
        [outcome] = attempts([bundle], backend)
        assert outcome.startswith("EngineError: "), outcome


def _npy(claim: str, content: bytes, version: bytes = b"\x01\x00") -> bytes:
    header = claim.encode() + b" " * (63 - (len(claim) + 10) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version[0] == 1 else 4, "little") + header + content


def _npz(content: bytes, compression: int = zipfile.ZIP_DEFLATED, name: str = "mean.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, content)
    return file.getvalue()


CLAIM = "{{'descr': '{kind}', 'fortran_order': {by_column}, 'shape': {shape}, }}"


@pytest.mark.parametrize(("claim", "content"), [
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, 1000000000)"), b""),
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, -8)"), bytes(96)),
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, 8, 1)"), bytes(96)),
    (CLAIM.format(kind="<f4", by_column=False, shape="(24,)"), bytes(96)),
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, True)"), bytes(96)),
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, 8)"), bytes(95)),
    (CLAIM.format(kind="<f4", by_column=False, shape="(3, 8)"), bytes(2**24)),
    (CLAIM.format(kind="|O", by_column=False, shape="(3, 8)"), bytes(96)),
    (CLAIM.format(kind="<c16", by_column=False, shape="(3, 8)"), bytes(384)),
    (CLAIM.format(kind="|V1000000000", by_column=False, shape="(3, 8)"), bytes(96)),
    (CLAIM.format(kind="<i4", by_column=False, shape="(3, 8)"), bytes(96)),
    (CLAIM.format(kind="<f4", by_column=7, shape="(3, 8)"), bytes(96)),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 8), }", bytes(96)),
    ("(" * 5000, b""), ("", b""), ("{}", b""), ("{'shape': __import__('os')}", b""),
], ids=["12 GB", "negative", "three axes", "one axis", "a truth", "too short", "too long", "objects", "complex",
        "a giant type", "integers", "order", "fields", "nested", "empty", "no keys", "code"])  # fmt: skip
def test_mean_styles_that_are_not_what_they_claim_are_refused(tmp_path, claim, content):
    (tmp_path / "styles.npz").write_bytes(_npz(_npy(claim, content)))
    with pytest.raises(
        BundleError, match=r"styles\.npz holds no mean styles \(.*\): export the bundle again$"
    ) as caught:
        read_means(tmp_path / "styles.npz", (3, 8))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00"])
def test_mean_styles_of_any_float_type_and_order_are_read(tmp_path, kind, by_column, version):
    means = (np.arange(24).reshape(3, 8) / 8).astype(kind)
    claim = CLAIM.format(kind=kind, by_column=by_column, shape="(3, 8)")
    content = _npy(claim, means.tobytes("F" if by_column else "C"), version)
    (tmp_path / "styles.npz").write_bytes(_npz(content, zipfile.ZIP_STORED))
    read = read_means(tmp_path / "styles.npz", (3, 8))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.arange(24).reshape(3, 8) / 8)


def test_mean_styles_that_are_not_finite_are_refused(tmp_path):
    np.savez(tmp_path / "styles.npz", mean=np.array([[1, math.nan], [1e300, 0]]))
    with pytest.raises(BundleError, match="numbers that are not finite"):
        read_means(tmp_path / "styles.npz", (2, 2))


@linux
def test_a_deflated_bomb_of_12_gb_in_the_mean_styles_is_a_sentence(changed):
    zeros = bytes(2**24)
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("mean.npy", "w") as to,
    ):
        to.write(_npy(CLAIM.format(kind="<f4", by_column=False, shape="(3, 1000000000)"), b""))
        for _ in range(16):
            to.write(zeros)
    [outcome] = attempts([changed(files={"styles.npz": file.getvalue()})])
    assert "styles.npz holds no mean styles (they have the shape (3, 1000000000) instead of (3, 8))" in outcome


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 400))
def test_any_damage_to_the_mean_styles_is_a_sentence_or_leaves_numbers(tmp_path, tiny_bundle, damage, cut):
    content = bytearray((tiny_bundle / "styles.npz").read_bytes())
    for place, value in damage:
        content[place % len(content)] = value
    (tmp_path / "styles.npz").write_bytes(content[: len(content) - cut if cut < 100 else None])
    assert _is_sentence(lambda: read_means(tmp_path / "styles.npz", (3, 8)))


def test_file_names_of_any_length_and_addresses_are_refused_in_a_sentence(changed):
    from starcast.runtime.bundle import open_bundle

    facts = {"sha256": "0" * 64, "bytes": 1}
    for name in ("x" * 300, "é" * 200, "a/" * 5000 + "b", "x\0y", "..", "/etc/passwd"):
        bundle = changed(lambda manifest, name=name: manifest["files"].update({name: facts}))
        with pytest.raises(BundleError, match="do not use this bundle") as caught:
            open_bundle(bundle)
        assert len(str(caught.value)) < 1000
    with pytest.raises(BundleError, match="is an address, and nothing is downloaded: download the folder"):
        open_bundle(Path("https://example.org/my-model"))
