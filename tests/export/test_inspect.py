from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from starcast.errors import BundleError, CheckpointError
from starcast.export.inspect import facts_of, lines_of
from starcast.runtime.bundle import Bundle


def test_a_bundle_says_what_it_is_and_which_engines_run_it_here(oracle_bundle: Bundle) -> None:
    facts = facts_of(oracle_bundle.path)
    assert facts["what"] == "bundle"
    assert facts["domains"] == ["cat", "dog", "wild"]
    variant = next(variant for variant in facts["variants"] if variant["engines"]["onnxruntime"] is None)
    assert {"onnxruntime", "openvino"} <= set(variant["engines"])
    assert variant["engines"]["onnxruntime"] is None
    text = "\n".join(lines_of(facts))
    assert "0 cat, 1 dog, 2 wild" in text
    assert "onnxruntime: runs here" in text
    assert f"Next: starcast translate {oracle_bundle.path}" in text


def test_a_checkpoint_says_its_sizes_and_the_next_command(oracle_checkpoint: Path) -> None:
    facts = facts_of(oracle_checkpoint)
    assert (facts["layout"], facts["image_size"], facts["style_dim"], facts["latent_dim"]) == ("official", 256, 16, 8)
    # The counts stand beside the oracle.
    assert facts["parameters"] == {"generator": 317_027, "mapping_network": 53_616, "style_encoder": 169_712}
    text = "\n".join(lines_of(facts))
    assert "generator 317,027" in text
    assert f"Next: starcast export {oracle_checkpoint} -o BUNDLE" in text


def test_facts_are_json(oracle_bundle: Bundle, oracle_checkpoint: Path) -> None:
    for path in (oracle_bundle.path, oracle_checkpoint):
        facts: dict[str, Any] = facts_of(path)
        assert json.loads(json.dumps(facts)) == facts


def test_a_bundle_is_inspected_where_there_is_no_torch(oracle_bundle: Bundle) -> None:
    script = f"""
import sys
for name in ("torch", "onnx", "onnx_ir", "onnxscript"):
    sys.modules[name] = None
from starcast.cli import main
main(["inspect", {str(oracle_bundle.path)!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "bundle" in done.stdout


def test_a_damaged_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        facts_of(tmp_path)


def test_another_file_says_what_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0 image")
    with pytest.raises(CheckpointError, match=r"cat\.jpg"):
        facts_of(tmp_path / "cat.jpg")


def test_a_folder_of_neither_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give a checkpoint, a bundle or a run's folder"):
        facts_of(tmp_path)


def test_an_option_that_was_not_given_is_not_shown() -> None:
    facts = {"path": "x.ckpt", "options": {"workers": None, "steps": 7}, "next": "starcast export x.ckpt -o BUNDLE"}
    assert "Trained with: steps 7" in lines_of(facts)
