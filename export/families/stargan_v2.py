"""StarGAN v2 as export sees it: styles from latents and from references, and the graphs that make both.

landmarks      image uint8 [batch, height, width, 3] -> heatmaps float32 [batch, 98, 64, 64], for face models
masks          heatmaps float32 [batch, 98, 64, 64] -> masks float32 [batch, 2, 256, 256], for face models
mapping        latent float32 [batch, L], domain int64 [batch] -> style float32 [batch, S]
style_encoder  image uint8 [batch, size, size, 3], domain int64 [batch] -> style float32 [batch, S]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from starcast.export.families.model import About, Floats, Image, Licence, Model, StyleGraph
from starcast.export.families.stargan_v2_faces import LANDMARK_MAKER, MASK_INPUT, landmark_graph, mask_graph
from starcast.export.gate.images import draw_images
from starcast.export.gate.reference import as_floats, from_bytes
from starcast.runtime.manifest import Condition, ExtraInput, LandmarkMaker, LatentMaker, ReferenceMaker
from starcast.runtime.styles import draw_latents
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import averaged_networks
from starcast.train.families.stargan_v2.networks import MappingNetwork, Networks, StarGANv2Config, StyleEncoder

MAPPING, STYLE_ENCODER, MEANS = "mapping.onnx", "style_encoder.onnx", "styles.npz"
MEAN_SEED, PREVIEW_SEED = 0, 0
MEAN_DRAWS = 10_000  # latents that are averaged for each domain's mean style
MEAN_BATCH = 10_000  # latents in one pass; in smaller batches, threads mostly wait for each other


class StarGANv2(Model):
    """Averaged networks of StarGAN v2."""

    family = "stargan_v2"
    about = About(
        title="A StarGAN v2 (Choi et al. 2020)",
        tags=("stargan-v2",),
        styles="A style is made from a random number or taken from a reference image.",
        official_licence=Licence(
            "cc-by-nc-4.0",
            "The checkpoint has the layout of the official StarGAN v2, or was trained from one that has. The official "
            "checkpoints are under CC BY-NC 4.0, and so are the data sets that they were trained on (AFHQ, CelebA-HQ): "
            "this bundle is for non-commercial use, with attribution, unless the checkpoint is your own and was "
            "trained on data that allow more.",
        ),
    )

    def __init__(self, networks: Networks, config: StarGANv2Config, domains: tuple[str, ...]) -> None:
        self.networks, self.config, self.domains = networks, config, domains
        self.side, self.stride, self.style_size = config.image_size, config.stride, config.style_dim

    @property
    def generator(self) -> nn.Module:
        return self.networks.generator

    @property
    def facts(self) -> Mapping[str, str]:
        return {"latent_dim": str(self.config.latent_dim)}

    def condition(self, mean_draws: int | None) -> Condition:
        return Condition(
            size=self.style_size,
            latent=LatentMaker(graph=MAPPING, size=self.config.latent_dim),
            reference=ReferenceMaker(graph=STYLE_ENCODER, height=self.side, width=self.side),
            means=MEANS,
            mean_draws=mean_draws or MEAN_DRAWS,
        )

    def style_graphs(self) -> Sequence[StyleGraph]:
        domains, two = len(self.domains), torch.zeros(2, dtype=torch.int64)
        latents = draw_latents(5, 2 * domains + 1, self.config.latent_dim)
        images = draw_images(domains + 1, self.side, self.side, seed=6)
        encoder = self.networks.style_encoder
        return [
            *self._face_graphs(),
            StyleGraph(
                MAPPING, LatentNetwork(self.networks.mapping_network),
                {"latent": torch.zeros(2, self.config.latent_dim), "domain": two},
                self.networks.mapping_network, {"latent": latents, "domain": np.arange(len(latents)) % domains},
            ),
            StyleGraph(
                STYLE_ENCODER, ReferenceNetwork(encoder),
                {"image": torch.zeros(2, self.side, self.side, 3, dtype=torch.uint8), "domain": two},
                lambda image, domain: encoder(from_bytes(image), domain),
                {"image": images, "domain": np.arange(len(images)) % domains},
            ),
        ]  # fmt: skip

    @property
    def landmarks(self) -> LandmarkMaker | None:
        return LANDMARK_MAKER if self.config.is_face_model else None

    @property
    def extra_inputs(self) -> Sequence[ExtraInput]:
        return (MASK_INPUT,) if self.config.is_face_model else ()

    def extras(self, sources: Image) -> dict[str, Floats]:
        if not self.config.is_face_model:
            return {}
        # one image at a time, because the landmark network's largest maps take 25 MB each
        masks = [self.networks.masks(as_floats(source[None])) for source in sources]
        return {"masks": np.concatenate([made.numpy() for made in masks if made is not None])}

    def _face_graphs(self) -> list[StyleGraph]:
        fan = self.networks.fan
        return [] if fan is None else [landmark_graph(fan, draw_images(3, self.side, self.side, seed=9)), mask_graph()]

    def gate_styles(self, count: int) -> Floats:
        domain = torch.arange(count) // 2 % self.config.domains
        latents = draw_latents(7, count, self.config.latent_dim)
        references = draw_images(count // 2, self.side, self.side, seed=8)
        with torch.inference_mode():
            styles: Floats = self.networks.mapping_network(torch.from_numpy(latents), domain).numpy()
            styles[1::2] = self.networks.style_encoder(as_floats(references), domain[1::2]).numpy()
        return styles

    def draw_style(self, domain: int, draws: np.random.RandomState) -> Floats:
        latent = draw_latents(draws, 1, self.config.latent_dim)
        return _run(self.networks.mapping_network, torch.from_numpy(latent), torch.tensor([domain]))

    def reference_style(self, domain: int, image: Image) -> Floats | None:
        return _run(self.networks.style_encoder, as_floats(image[None]), torch.tensor([domain]))

    def preview_styles(self) -> Floats:
        count = self.config.domains
        latent = draw_latents(PREVIEW_SEED, 1, self.config.latent_dim)
        return _run(self.networks.mapping_network, torch.from_numpy(latent).expand(count, -1), torch.arange(count))

    def mean_styles(self, draws: int | None) -> Floats:
        latents = draw_latents(MEAN_SEED, draws or MEAN_DRAWS, self.config.latent_dim)
        return mean_styles(self.networks.mapping_network, latents, self.config.domains)


def open_stargan_v2(checkpoint: Checkpoint, domains: tuple[str, ...]) -> StarGANv2:
    """The averaged networks of a checkpoint of this family."""
    return StarGANv2(averaged_networks(checkpoint), checkpoint.config, domains)


def mean_styles(network: MappingNetwork, latents: Floats, domains: int) -> Floats:
    """Each domain's mean style over the same latents, float32 [domains, S], summed in float64."""
    parts = np.array_split(latents, -(-len(latents) // MEAN_BATCH))

    def mean(domain: int) -> Any:
        of_domain = (_run(network, torch.from_numpy(part), torch.full((len(part),), domain)) for part in parts)
        return sum(styles.sum(axis=0, dtype=np.float64) for styles in of_domain) / len(latents)

    return np.stack([mean(domain) for domain in range(domains)]).astype(np.float32)


class LatentNetwork(nn.Module):
    """The mapping network with each layer's heads stacked, so that a Gather selects the weights of each domain."""

    def __init__(self, network: MappingNetwork):
        super().__init__()
        self.shared = network.shared
        depth = len(network.unshared[0])  # type: ignore[arg-type]
        columns = [[head[index] for head in network.unshared] for index in range(depth)]  # type: ignore[index]
        self.unshared = nn.ModuleList(
            StackedLinear(layers) if isinstance(layers[0], nn.Linear) else layers[0] for layers in columns
        )

    def forward(self, latent: Tensor, domain: Tensor) -> Tensor:
        x: Tensor = self.shared(latent)[:, None]
        for layer in self.unshared:
            x = layer(x, domain) if isinstance(layer, StackedLinear) else layer(x)
        return x.squeeze(1)


class ReferenceNetwork(nn.Module):
    """The style encoder for images as bytes, with its heads stacked as in LatentNetwork."""

    def __init__(self, network: StyleEncoder):
        super().__init__()
        self.shared = network.shared
        self.unshared = StackedLinear(list(network.unshared))

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        x: Tensor = self.shared(from_bytes(image)).flatten(1)[:, None]
        style: Tensor = self.unshared(x, domain)
        return style.squeeze(1)


class StackedLinear(nn.Module):
    """One linear layer per domain: (N, 1, in), (N,) -> (N, 1, out)."""

    weight: Tensor  # (domains, in, out)
    bias: Tensor  # (domains, 1, out)

    def __init__(self, layers: list[Any]):
        super().__init__()
        self.register_buffer("weight", torch.stack([layer.weight.detach().t() for layer in layers]).contiguous())
        self.register_buffer("bias", torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return x @ self.weight.index_select(0, domain) + self.bias.index_select(0, domain)


def _run(network: nn.Module, *inputs: Tensor) -> Floats:
    with torch.inference_mode():
        styles: Floats = network(*inputs).numpy()
    return styles
