from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from starcast.cli import main
from starcast.export.cli import export, inspect
from starcast.runtime.bundle import open_bundle


def test_export_writes_a_bundle_and_says_how_to_use_it(small_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    command = [str(small_checkpoint), "-o", str(target), "--mean-draws", "10", "--domains", "a,b,c", "--data", "pens"]
    result = CliRunner().invoke(export, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "compared with PyTorch" in result.output
    assert f"starcast translate {target} IMAGE --domain a -o OUT" in result.output
    shown = CliRunner().invoke(inspect, [str(target)], catch_exceptions=False)
    assert "0 a, 1 b, 2 c" in shown.output
    assert "pens" in shown.output
    as_json = CliRunner().invoke(inspect, [str(target), "--json"], catch_exceptions=False)
    assert as_json.output.startswith("{")


def test_a_bundle_for_tensorrt_alone_has_engines_to_build_next(small_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    command = [
        str(small_checkpoint), "-o", str(target), "--mean-draws", "10", "--for", "tensorrt", "--precision", "fp16"
    ]  # fmt: skip
    result = CliRunner().invoke(export, command, catch_exceptions=False)
    next_line = f"starcast build {target} --backend tensorrt-rtx --precision fp16"
    assert result.output.endswith(f"is ready: {next_line}\n")
    shown = CliRunner().invoke(inspect, [str(target)], catch_exceptions=False).output
    assert f"needs an engine for the GPU that will run it: {next_line}" in shown
    assert f"Next: {next_line}" in shown
    assert "norms: 13 in one pass, 0 in two; |mean| / std was at most" in shown


@pytest.mark.parametrize("verb", ["export", "inspect"])
def test_help_needs_no_heavy_package(verb: str) -> None:
    script = f"""
import sys
from starcast.cli import main
try:
    main([{verb!r}, "--help"])
except SystemExit as leaving:
    heavy = {{"torch", "onnx", "onnx_ir", "onnxruntime", "cv2", "av"}} & set(sys.modules)
    sys.exit(f"imported {{heavy}}" if heavy or leaving.code else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "Example: starcast" in done.stdout


def test_a_folder_without_checkpoints_is_one_sentence_and_exit_status_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "starcast", "export", tmp_path, "-o", tmp_path / "model"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes UTF-8 alone")
def test_names_that_are_not_utf_8_are_exported_and_said(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = os.fsdecode(b"caf\xe9")
    with pytest.raises(SystemExit) as left:
        main([
            "export", str(small_checkpoint), "-o", str(tmp_path / latin), "--for", "onnxruntime", "--mean-draws", "2",
            "--domains", f"{latin},dog,wild", "--data", latin,
        ])  # fmt: skip
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert r"A domain's name is not valid UTF-8: the bundle calls it caf\udce9" in said
    manifest = open_bundle(tmp_path / latin).manifest
    assert manifest.domains[0] == r"caf\udce9"
    assert manifest.provenance.dataset == r"caf\udce9"
