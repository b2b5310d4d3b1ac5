"""What files that are no checkpoints are called."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.train.checkpoint.foreign import describe_content, describe_file, find_damaged_part

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "oracles"


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


def an_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(2))


def a_torchscript(path: Path) -> None:
    """The parts that torch.jit.save writes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__/torch/nn/modules/linear.py", "version"):
            archive.writestr(f"linear/{name}", b"2")


def a_safetensors(path: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("a list of things\n" * 9), "is a text file"),
        (lambda path: path.write_bytes(bytes(range(1, 200)) * 9), "is not a file that torch can read"),
        (lambda path: Image.new("RGB", (4, 4)).save(path, "PNG"), "is a PNG image"),
        (lambda path: Image.new("RGB", (4, 4)).save(path, "JPEG"), "is a JPEG image"),
        (lambda path: path.write_bytes(b"\x08\x0a\x12\x07pytorch"), "is an ONNX graph"),
        (lambda path: path.write_text("<!doctype html><title>404</title>"), "is a web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
        (lambda path: path.write_text("\n\r\n <!DOCTYPE html><html>404</html>"), "is a web page"),
        (
            lambda path: path.write_text("\n\n<html><title>Google Drive - Virus scan warning</title></html>"),
            "is a page of Google Drive instead of the file",
        ),
        (
            lambda path: path.write_bytes(b"\xef\xbb\xbf\n<!doctype html><title>Google Drive - Quota exceeded</title>"),
            "is a page of Google Drive instead of the file",
        ),
        (a_torchscript, "is a TorchScript archive"),
        (an_npz, "is a zip archive"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "is a pickle"),
        (a_zip, "is a zip archive"),
        (a_safetensors, "is a safetensors file"),
    ],
    ids=lambda x: x.replace(" ", "-") if isinstance(x, str) else "",
)
def test_a_file_is_called_what_its_bytes_say(write: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "100000_nets_ema.ckpt"
    write(path)
    assert describe_file(path).startswith(kind)


def test_a_checkpoint_that_lost_its_end_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save({"x": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])
    assert describe_file(path) == "is truncated"


def test_one_changed_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save({"x": torch.zeros(5000)}, path)
    assert find_damaged_part(path) is None
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    part = find_damaged_part(path)
    assert part is not None
    assert part.endswith("data/0")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (torch.zeros(2), "holds a Tensor"),
        ([1], "holds a list"),
        ({}, "holds an empty table"),
        ({"epoch": 3, "loss": 0.1}, "holds a table of epoch, loss"),
        ({"generator": {"state": {}, "param_groups": []}}, "holds the state of optimisers"),
        ({"state": {}, "param_groups": []}, "holds the state of an optimiser"),
        ({"generator": {"hpf.filter": torch.zeros(3, 3)}}, "holds a generator alone"),
        ({"generator": {"from_rgb.bias": torch.zeros(3)}}, "holds a generator alone"),
        ({"module.from_rgb.bias": torch.zeros(3)}, "is the state_dict of a generator alone"),
        ({"layer.weight": torch.zeros(3), "layer.bias": torch.zeros(3)}, "is a state_dict of 2 tensors, layer.bias"),
    ],
    ids=lambda x: x.replace(" ", "-") if isinstance(x, str) else "",
)
def test_a_content_is_called_what_its_names_say(content: object, kind: str) -> None:
    assert describe_content(content).startswith(kind)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the other families' files are not in the repository")
@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("stargan_v1/200000-D.ckpt", "is a StarGAN v1 discriminator"),
        ("stylegan2_lukau/checkpoint_2/GE.pth", "is one network of a StyleGAN2 checkpoint (give its folder"),
        ("stylegan2_lukau/checkpoint_2/G_optimizer.pth", "holds the state of an optimiser"),
        ("stargan_v2_train_step/000001_optims.ckpt", "holds the state of optimisers"),
        ("stargan_v2_hpf1/100000_nets_ema.ckpt", "holds a generator alone"),
    ],
)
def test_files_of_other_families_are_recognised(file: str, kind: str) -> None:
    assert describe_content(torch.load(SHARED / file, weights_only=True)).startswith(kind)
