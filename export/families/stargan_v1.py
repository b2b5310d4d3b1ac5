"""StarGAN v1 as export sees it: a style is a number for each label, passed in directly.

classifier  image uint8 [batch, size, size, 3] -> logits float32 [batch, labels], if the discriminator is there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from starcast.export.families.model import About, Floats, Licence, Model, StyleGraph
from starcast.export.gate.images import draw_images
from starcast.export.gate.reference import from_bytes
from starcast.runtime.labels import label_vector
from starcast.runtime.manifest import Classifier, Condition, LabelMaker
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import averaged_networks
from starcast.train.families.stargan_v1.networks import (
    Discriminator,
    Generator,
    Networks,
    StarGANv1Config,
    empty_networks,
)

CLASSIFIER = "classifier.onnx"
GATE_SEED, GATE_IMAGES = 7, 3


class StarGANv1(Model):
    """The generator of StarGAN v1."""

    family = "stargan_v1"
    about = About(
        title="A StarGAN v1 (Choi et al. 2018)",
        tags=("stargan",),
        styles="A style is a number for each label: 1 for what a translation should have, 0 for what it should not.",
        official_licence=Licence(
            "mit",
            "The checkpoint has the layout of the official StarGAN, whose code is under the MIT licence. CelebA, which "
            "official checkpoints were trained on, is for non-commercial research only.",
        ),
    )

    def __init__(
        self, networks: Networks, config: StarGANv1Config, domains: tuple[str, ...],
        discriminator: Discriminator | None = None,
    ) -> None:  # fmt: skip
        """`discriminator` reads what a source has; models of classes alone need none."""
        self.networks, self.config, self.domains = networks, config, domains
        self.side, self.stride, self.style_size = config.image_size, config.stride, config.label_size
        self.discriminator = discriminator if config.attributes else None
        self.labels = LabelMaker(
            names=domains,
            classes=config.classes,
            classifier=None if self.discriminator is None
            else Classifier(graph=CLASSIFIER, height=self.side, width=self.side),
        )  # fmt: skip

    @property
    def generator(self) -> nn.Module:
        return FrameGenerator(self.networks.generator)

    @property
    def reference(self) -> nn.Module:
        return self.networks.generator

    @property
    def facts(self) -> Mapping[str, str]:
        return {"attributes": str(self.config.attributes), "classes": str(self.config.classes)}

    def condition(self, mean_draws: int | None) -> Condition:
        return Condition(size=self.style_size, labels=self.labels)

    def style_graphs(self) -> Sequence[StyleGraph]:
        network = self.discriminator
        if network is None:
            return []
        return [
            StyleGraph(
                CLASSIFIER, ClassifierNetwork(network),
                {"image": torch.zeros(2, self.side, self.side, 3, dtype=torch.uint8)},
                lambda image: network.classify(from_bytes(image)),
                {"image": draw_images(GATE_IMAGES, self.side, self.side, seed=6)},
                output="logits",
            )
        ]  # fmt: skip

    def gate_styles(self, count: int) -> Floats:
        """Each label alone, then random attributes and classes in turn."""
        draws = np.random.RandomState(GATE_SEED)
        styles = list(self.preview_styles())
        while len(styles) < count:
            styles.append(self.draw_style(len(styles) % len(self.domains), draws)[0])
        return np.stack(styles[:count])

    def draw_style(self, domain: int, draws: np.random.RandomState) -> Floats:
        """An attribute, with the others at random; or a class."""
        attributes = self.config.attributes
        if domain >= attributes:
            return self.preview_styles()[domain : domain + 1]
        given = {name: float(draws.randint(2)) for name in self.domains[:attributes]}
        return label_vector(self.labels, {**given, self.domains[domain]: 1.0})[None]

    def preview_styles(self) -> Floats:
        return np.stack([label_vector(self.labels, {name: 1.0}) for name in self.domains])


class FrameGenerator(nn.Module):
    """The generator, with label planes that get their size from the image at run time. A trace of the original would
    fix that size, and how many images share the labels."""

    def __init__(self, network: Generator):
        super().__init__()
        self.main = network.main

    def forward(self, source: Tensor, labels: Tensor) -> Tensor:
        planes = labels[:, :, None, None] + source[:, :1] * 0
        image: Tensor = self.main(torch.cat([source, planes], dim=1))
        return image


class ClassifierNetwork(nn.Module):
    """The discriminator's label classifier, on images as bytes. Its real-or-fake output is left out."""

    def __init__(self, network: Discriminator):
        super().__init__()
        self.main, self.conv2 = network.main, network.conv2

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv2(self.main(from_bytes(image))).flatten(1)
        return logits


def open_stargan_v1(checkpoint: Checkpoint, domains: tuple[str, ...]) -> StarGANv1:
    """The networks of a checkpoint of this family."""
    config = checkpoint.config
    state = (checkpoint.networks or {}).get("discriminator")
    discriminator = None
    if state is not None and config.attributes:
        discriminator = empty_networks(config, training=True).discriminator
        assert discriminator is not None
        discriminator.load_state_dict(state)
        discriminator.eval().requires_grad_(False)
    return StarGANv1(averaged_networks(checkpoint), config, domains, discriminator)
