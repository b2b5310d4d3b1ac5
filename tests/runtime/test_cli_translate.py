from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner, Result

from starcast.cli import root
from starcast.images.read import read_image
from starcast.images.write import write_image


def _draw_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["translate", *map(str, arguments)], standalone_mode=False)


def _starcast(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starcast", "translate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **settings)


def test_the_help_is_quick_and_imports_no_engine():
    code = """
import sys
from starcast.cli import main
try:
    main(["translate", "--help"])
except SystemExit as leaving:
    assert leaving.code == 0
heavy = {"torch", "onnx", "cv2", "av", "onnxruntime", "openvino", "tqdm"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in ("--domain", "--seed", "--ref", "--psi", "--fit", "--batch", "--backend", "--precision", "--threads",
                   "--overwrite", "--format", "--max-pixels", "-o, --out"):  # fmt: skip
        assert option in result.stdout


def test_a_reference_and_a_domain_by_number_translate_one_image_into_a_folder(tmp_path, tiny_bundle, tiny_model):
    write_image(tmp_path / "x.png", _draw_image(1))
    write_image(tmp_path / "ref.png", _draw_image(2))
    result = _invoke(
        tiny_bundle, tmp_path / "x.png", "--ref", tmp_path / "ref.png", "--domain", "1", "-o", tmp_path / "OUT"
    )
    assert result.return_value == 0
    expected = tiny_model.translation(_draw_image(1)[None], tiny_model.reference_style(_draw_image(2), 1))[0]
    difference = np.abs(read_image(tmp_path / "OUT/x.png").astype(int) - expected)
    assert difference.max() <= 1
    assert "1 translated, 0 there already, 0 failed." in result.stdout


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_format_of_a_folders_translations_can_be_chosen(tmp_path, tiny_bundle, suffix):
    write_image(tmp_path / "x.png", _draw_image())
    _invoke(tiny_bundle, tmp_path / "x.png", "--domain", "cat", "-o", tmp_path / "out", "--format", suffix)
    assert (tmp_path / f"out/x.{suffix}").exists()


def test_a_failed_source_is_one_line_on_stderr_and_the_status_is_1(tmp_path, tiny_bundle):
    write_image(tmp_path / "in/good.png", _draw_image())
    (tmp_path / "in/bad.png").write_bytes(b"")
    result = _starcast(tiny_bundle, tmp_path / "in", "--domain", "cat", "-o", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"{tmp_path / 'in/bad.png'} is empty (0 bytes): copy it again, or leave it out"
    ]
    assert "1 translated, 0 there already, 1 failed." in result.stdout


@pytest.mark.parametrize(("arguments", "cause"), [
    (("missing-bundle", "x.png", "--domain", "cat", "-o", "out"), "is not a bundle"),
    (("BUNDLE", "nothing-here", "--domain", "cat", "-o", "out.gif"), "end it in"),
    (("BUNDLE", "empty", "--domain", "cat", "-o", "out"), "no images in"),
    (("BUNDLE", "x.png", "--domain", "cow", "-o", "out"), "cow"),
    (("BUNDLE", "x.png", "--domain", "cat"), "-o"),
    (("BUNDLE", "x.png", "--domain", "cat", "-o", "out", "--fit", "squeeze"), "--fit"),
    (("BUNDLE", "x.png", "--domain", "cat", "-o", "out", "--batch", "0"), "--batch"),
    (("BUNDLE", "-o", "out"), "SOURCE"),
    (("BUNDLE", "x.png", "--domain", "cat", "-o", "."), "is a source"),
], ids=["bundle", "format", "none", "domain", "no output", "fit", "batch", "no source", "over the source"])  # fmt: skip
def test_wrong_use_is_one_sentence_and_status_2(tmp_path, tiny_bundle, arguments, cause):
    write_image(tmp_path / "x.png", _draw_image())
    (tmp_path / "empty").mkdir()
    result = _starcast(*(str(tiny_bundle) if part == "BUNDLE" else part for part in arguments), cwd=tmp_path)
    assert result.returncode == 2
    assert cause in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_which_nothing_can_be_read_is_status_1(tmp_path, tiny_bundle):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.png").write_bytes(b"x" * 100)
    result = _starcast(tiny_bundle, tmp_path / "in", "--domain", "cat", "-o", tmp_path / "out")
    assert result.returncode == 1
    assert "0 translated, 0 there already, 1 failed." in result.stdout


def test_an_undecodable_name_is_translated_and_printed(tmp_path, tiny_bundle):
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    name = os.fsdecode(b"caf\xe9")
    write_image(tmp_path / f"in/{name}.png", _draw_image())
    (tmp_path / f"in/{name}-bad.png").write_bytes(b"")
    result = _starcast(tiny_bundle, tmp_path / "in", "--domain", "cat", "-o", tmp_path / "out")
    assert result.returncode == 1
    assert "caf\\udce9-bad.png is empty" in result.stderr
    assert (tmp_path / f"out/{name}.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
def test_ctrl_c_leaves_whole_images_and_status_130(tmp_path, tiny_bundle):
    for number in range(400):
        write_image(tmp_path / f"in/{number}.png", _draw_image(number % 3))
    command = [sys.executable, "-m", "starcast", "translate", tiny_bundle, tmp_path / "in", "--domain", "all"]
    process = subprocess.Popen(
        [*map(str, command), "-o", str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )  # fmt: skip
    out = tmp_path / "out"
    while process.poll() is None and len(list(out.rglob("*.png"))) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().endswith("Stopped.")
    assert "Traceback" not in error
    images = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert 5 <= len(images) < 1200
    assert all(read_image(path).shape == (32, 32, 3) for path in images)


def test_a_list_and_a_pattern_name_sources(tmp_path, tiny_bundle):
    write_image(tmp_path / "a/x.png", _draw_image())
    write_image(tmp_path / "b/y.png", _draw_image())
    (tmp_path / "all.txt").write_text("a/x.png\n", encoding="utf-8")
    result = _invoke(
        tiny_bundle, tmp_path / "all.txt", tmp_path / "b" / "*.png", "--domain", "cat", "-o", tmp_path / "out"
    )
    assert result.return_value == 0
    assert (tmp_path / "out/a/x.png").exists()
    assert (tmp_path / "out/y.png").exists()


def test_translating_one_image_imports_one_engine_and_nothing_of_films_or_gpus(tmp_path, tiny_bundle):
    pytest.importorskip("onnxruntime")
    write_image(tmp_path / "x.png", _draw_image())
    code = """
import sys
from starcast.cli import main
try:
    main(sys.argv[1:])
except SystemExit as leaving:
    assert leaving.code == 0
print(*sys.modules, sep="\\n")
"""
    arguments = ["translate", tiny_bundle, tmp_path / "x.png", "-o", tmp_path / "OUT", "--domain", "0", "--seed", "7"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--backend", "onnxruntime"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = set(result.stdout.splitlines())
    assert "starcast.runtime.engines.onnxruntime" in imported
    # each of these takes milliseconds, and none is needed here
    assert not imported & {
        "torch", "onnx", "cv2", "av", "tqdm", "openvino", "ncnn", "filelock", "xml.etree.ElementTree", "http.client",
        "email.message", "importlib.metadata", "ssl", "multiprocessing", "asyncio", "unittest", "sqlite3", "tomllib",
        "starcast.runtime.engines.openvino", "starcast.runtime.engines.ncnn", "starcast.runtime.engines.tensorrt",
        "starcast.runtime.engines.onnxruntime_cuda",
    }  # fmt: skip
    assert not [name for name in imported if name.startswith(("starcast.runtime.video", "starcast.runtime.nvidia."))
                and name != "starcast.runtime.nvidia.placement"]  # fmt: skip


@pytest.mark.parametrize("out", ["", "x.png", "out/x.png", "a/b"])
def test_nothing_is_translated_into_a_bundle(tmp_path, tiny_bundle, out):
    bundle = tmp_path / "my-model"
    shutil.copytree(tiny_bundle, bundle)
    before = sorted(bundle.rglob("*"))
    write_image(tmp_path / "x.png", _draw_image())
    result = _starcast(bundle, tmp_path / "x.png", "-o", bundle / out, "--domain", "0", "--seed", "7")
    assert result.returncode == 2
    assert result.stderr == f"Error: {bundle} is a bundle: choose another -o\n"
    assert sorted(bundle.rglob("*")) == before


def test_a_folder_with_a_manifest_of_another_program_is_no_bundle(tmp_path, tiny_bundle):
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT/manifest.json").write_text('{"manifest_version": 3}', encoding="utf-8")
    write_image(tmp_path / "x.png", _draw_image())
    result = _invoke(tiny_bundle, tmp_path / "x.png", "-o", tmp_path / "OUT", "--domain", "0", "--seed", "7")
    assert result.return_value == 0
    assert (tmp_path / "OUT/x.png").is_file()
