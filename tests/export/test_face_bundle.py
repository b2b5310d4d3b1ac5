"""A face model from checkpoint to bundle: commands and Translator give what PyTorch's networks and masks give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from face_oracles import fill_fan
from PIL import Image

from starcast.cli import root
from starcast.export.families import open_model
from starcast.export.gate.images import draw_images
from starcast.export.gate.reference import translate
from starcast.images.fit import to_multiples
from starcast.runtime import Translator
from starcast.train.checkpoint.file import read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v2.landmarks import find_landmarks
from starcast.train.families.stargan_v2.networks import StarGANv2Config, random_networks

pytestmark = pytest.mark.slow  # the tracer takes its time for the landmark network

CONFIG = StarGANv2Config(
    image_size=64, domains=3, style_dim=8, latent_dim=4, mapping_width=8, channel_base=512, max_channels=16,
    high_pass=2.0,
)  # fmt: skip
NAMES = ("female", "male", "other")
SIZES = [(64, 64), (96, 64), (40, 72), (51, 37)]  # the last is no multiple of the stride


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """A folder with `faces.pt` and its bundle `faces`, for OpenVINO and ONNX Runtime."""
    folder = tmp_path_factory.mktemp("faces")
    networks = random_networks(CONFIG, seed=2)
    fill_fan(networks.fan)
    write_checkpoint(folder / "faces.pt", config=CONFIG, domain_names=NAMES, step=1, averaged=networks)
    arguments = ["export", str(folder / "faces.pt"), "-o", str(folder / "faces"), "--for", "openvino,onnxruntime"]
    result = CliRunner().invoke(root, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    return folder


@pytest.fixture(scope="module")
def model(faces):
    return open_model(read_checkpoint(faces / "faces.pt"), NAMES)


def with_pytorch(model, images: np.ndarray, style: np.ndarray, masks: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    return translate(model.reference, to_multiples(images, model.stride), style[None], masks)[:, :height, :width]


@pytest.mark.parametrize(
    ("height", "width", "backend"),
    [*((*size, backend) for size in SIZES for backend in ("openvino", "onnxruntime")), (40, 72, "torch")],
)
def test_translations_of_every_size_are_pytorchs_within_one_level(faces, model, backend, height, width):
    """The masks are PyTorch's, but for values of heatmaps that rounding puts above or below the floor."""
    images = draw_images(3, height, width, seed=height)
    whole = to_multiples(images, model.stride)
    with Translator(faces / "faces", backend=backend) as translator:
        masks = translator._session.extra_inputs.make(whole)["masks"]
        assert (np.abs(masks - model.extras(whole)["masks"]) > 1e-4).mean() < 1e-4
        for domain in NAMES:
            style = translator.style(domain, seed=3)
            apart = translator(images, style).astype(int) - with_pytorch(model, images, style, masks)
            assert np.abs(apart).max() <= 1
        assert translator.extra_cost.sources == len(images)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_landmarks_of_the_bundle_are_pytorchs(faces, model, backend):
    [image] = draw_images(1, 80, 120, seed=4)
    with Translator(faces / "faces", backend=backend) as translator:
        got = translator.landmarks(image)
    assert got.shape == (98, 2)
    apart = np.abs(got - find_landmarks(model.networks.fan, image)).max(axis=1)
    assert (apart > 1e-4).sum() <= 2  # a peak's two neighbours may be equal within rounding


def test_translate_video_and_morph_run_and_say_what_masks_cost(faces, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    for number, image in enumerate(draw_images(2, 64, 64, seed=5)):
        Image.fromarray(image).save(sources / f"{number}.png")
    frames = [Image.fromarray(image) for image in draw_images(3, 64, 64, seed=6)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=100)
    bundle, common = str(faces / "faces"), ["--backend", "onnxruntime", "--domain", "male"]
    for arguments in (
        ["translate", bundle, str(sources), "-o", str(tmp_path / "out"), "--seed", "1"],
        ["video", bundle, str(tmp_path / "film.gif"), "-o", str(tmp_path / "film.mp4"), "--seed", "1"],
        ["morph", bundle, str(sources / "0.png"), "-o", str(tmp_path / "m.mp4"), "--seeds", "1,2"],
    ):
        result = CliRunner().invoke(root, [*arguments, *common], standalone_mode=False)
        assert result.exception is None, result.output
        assert "(masks " in result.output
