"""What `average --greedy` judges: the images that the export model makes, a face model's with masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from starcast.benchmarks.quality import judges
from starcast.errors import OptionError
from starcast.export.families import open_model
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v1 import networks as stargan_v1
from starcast.train.families.stargan_v1.networks import StarGANv1Config
from starcast.train.families.stargan_v2.networks import StarGANv2Config, random_networks
from starcast.train.families.stylegan2 import networks as stylegan2
from starcast.train.families.stylegan2.networks import StyleGAN2Config

CONFIG = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=3, mapping_width=8, channel_base=128, max_channels=8,
    high_pass=1.0,
)  # fmt: skip
MASK = 1.0  # everywhere: the source's detail is kept


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A face model's. Its masks stand for the landmark network's, which would take most of the time."""
    monkeypatch.setattr(
        "starcast.train.families.stargan_v2.networks.face_masks",
        lambda _fan, images, _side: torch.full((len(images), 2, 256, 256), MASK),
    )
    path = tmp_path / "a.pt"
    write_checkpoint(
        path, config=CONFIG, domain_names=("female", "male"), step=1, averaged=random_networks(CONFIG, seed=3)
    )
    return read_checkpoint(path)


def test_a_face_models_images_are_judged_with_masks(checkpoint, tmp_path, monkeypatch):
    draws = np.random.RandomState(2)
    pixels = {}
    for domain in checkpoint.domain_names:
        for split in ("train", "val"):
            (tmp_path / "data" / domain / split).mkdir(parents=True)
            pixels[domain] = draws.randint(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels[domain]).save(tmp_path / "data" / domain / split / "0.png")
    judged = []

    def distances(outputs):  # of two each: translations, references
        judged.append(outputs[0])
        return np.zeros((outputs.shape[1], 1))

    monkeypatch.setattr(judges, "open_lpips", lambda *_, **__: distances)
    networks = averaged_networks(checkpoint)
    assert judges.choose_judge(tmp_path / "data", checkpoint, lambda _: None, None, download=False)(networks) == 1

    source, reference = (torch.from_numpy(pixels[name])[None].permute(0, 3, 1, 2) / 127.5 - 1 for name in pixels)
    with torch.inference_mode():
        style = networks.style_encoder(reference, torch.tensor([1]))
        with_masks, without = (
            networks.generator(source, style, masks).clamp(-1, 1)
            for masks in (torch.full((1, 2, 256, 256), MASK), None)
        )
    level = 1 / 127.5
    assert (judged[0] - with_masks).abs().max() < level
    assert (without - with_masks).abs().max() > 10 * level


@pytest.mark.parametrize(
    ("random", "config", "names"),
    [
        (
            stargan_v1.random_networks,
            StarGANv1Config(
                image_size=16, generator_width=4, discriminator_width=2, residual_blocks=1, discriminator_layers=2,
                attributes=0, classes=2,
            ),
            ("cat", "dog"),
        ),
        (
            stylegan2.random_networks,
            StyleGAN2Config(image_size=8, latent_dim=3, mapping_depth=1, widths=(3, 2)),
            ("all",),
        ),
    ],
    ids=["stargan_v1", "stylegan2"],
)  # fmt: skip
def test_a_model_without_references_is_refused(random, config, names, tmp_path):
    write_checkpoint(tmp_path / "a.pt", config=config, domain_names=names, step=1, averaged=random(config))
    with pytest.raises(OptionError, match="--greedy judges translations to references, and .* makes none"):
        judges.choose_judge(tmp_path, read_checkpoint(tmp_path / "a.pt"), lambda _: None, None, download=False)


def test_latent_styles_come_from_the_models_own_mapping(checkpoint):
    networks = averaged_networks(checkpoint)
    model = judges.EagerModel(open_model(checkpoint, checkpoint.domain_names))
    latent = torch.from_numpy(np.random.RandomState(5).standard_normal((1, 3)).astype(np.float32))
    with torch.inference_mode():
        expected = networks.mapping_network(latent, torch.tensor([1]))[0].numpy()
    np.testing.assert_allclose(model.style(domain="male", seed=5), expected, atol=1e-6)
