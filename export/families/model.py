"""What export needs from a model of any family: sizes, the network that translates, and everything about styles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from starcast.runtime.manifest import Condition, ExtraInput, LandmarkMaker

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class StyleGraph:
    """A graph that makes styles from something else, such as a latent or a reference, or reads an image's labels.

    `network` is traced with `example`, whose keys name the graph's inputs. `reference` is the trained network, with the
    same inputs. The gate compares the two on `trials`, which map input names to arrays.
    """

    file: str
    network: nn.Module
    example: Mapping[str, Tensor]
    reference: Callable[..., Tensor]
    trials: Mapping[str, NDArray[Any]]
    output: str = "style"
    any_size: bool = False  # whether it takes images of any height and width, not only of the example's
    # The same network with each threshold shifted by the largest rounding error of what is compared with it. The
    # graph's values may lie anywhere between what these give and what `reference` gives.
    nearby: Sequence[Callable[..., Tensor]] = ()


@dataclass(frozen=True)
class Licence:
    """A licence: its name on model hubs, and a paragraph about it."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class About:
    """What a model card says about a family. `official_licence`: that of official checkpoints."""

    title: str  # `A StarGAN v2 (Choi et al. 2020)`
    tags: tuple[str, ...]
    styles: str  # a sentence: where styles come from
    official_licence: Licence | None = None


class Model(ABC):
    """The averaged networks of one checkpoint, ready for use on the CPU.

    A model without a source makes images from styles alone, or from styles and noise: its `stride` is None, it has no
    domains, and wherever there is an array for each domain, it has one.
    """

    family: ClassVar[str]
    about: ClassVar[About]

    domains: tuple[str, ...]
    side: int  # of the square training images
    channels: int = 3
    stride: int | None  # height and width of a source must be multiples of it; None: the model takes no source
    style_size: int
    layers: int | None = None  # styles that one image takes; None: one vector serves the whole image
    noise: Mapping[str, Floats] = MappingProxyType(
        {}
    )  # by input: the constant noise [1, 1, h, w], in the layers' order

    @property
    @abstractmethod
    def generator(self) -> nn.Module:
        """The network that is traced: images (N, 3, H, W) in -1..1, styles (N, style_size) -> images (N, 3, H, W).

        Without a source: styles (N, layers, style_size), the noise of each layer (N or 1, 1, h, w) -> images
        (N, channels, side, side).
        """

    @property
    def landmarks(self) -> LandmarkMaker | None:
        """What finds the landmarks of a face: one of `style_graphs`."""
        return None

    @property
    def extra_inputs(self) -> Sequence[ExtraInput]:
        """Further inputs of the generator, in their order, each made from the source by one of `style_graphs`."""
        return ()

    def extras(self, sources: NDArray[np.uint8]) -> dict[str, Floats]:
        """The extra inputs of sources uint8 [N, H, W, 3], by name, as the trained networks make them."""
        return {}

    @property
    def reference(self) -> nn.Module:
        """The trained network, which graphs are compared with by the gate and in benchmarks; it takes what `generator`
        takes."""
        return self.generator

    @property
    def parameters(self) -> int:
        """How many parameters the trained generator has."""
        return sum(parameter.numel() for parameter in self.generator.parameters())

    @property
    def style_shape(self) -> tuple[int, ...]:
        """The shape of one image's style: (style_size,) or (layers, style_size)."""
        return (self.style_size,) if self.layers is None else (self.layers, self.style_size)

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, str]:
        """The family's own sizes, for the graphs' metadata."""

    @abstractmethod
    def condition(self, mean_draws: int | None) -> Condition:
        """How a bundle makes styles; export adds `product` later. `mean_draws`: latents averaged for a mean style;
        None: the family's own choice, which may be a mean style that the checkpoint holds."""

    @abstractmethod
    def style_graphs(self) -> Sequence[StyleGraph]:
        """The graphs that make styles; empty if styles are passed in directly."""

    @abstractmethod
    def gate_styles(self, count: int) -> Floats:
        """Styles [count, *style_shape] for the gate, the same each time. They cover every way to make a style and every
        domain."""

    @abstractmethod
    def draw_style(self, domain: int, draws: np.random.RandomState) -> Floats:
        """A style [1, *style_shape] of a domain, drawn at random."""

    def reference_style(self, domain: int, image: Image) -> Floats | None:
        """The style [1, style_size] of an image, uint8 [side, side, 3]; None if the family uses no references."""
        return None

    @abstractmethod
    def preview_styles(self) -> Floats:
        """A style for each domain, float32 [domains, *style_shape]; without domains, for each image of the preview."""

    def mean_styles(self, draws: int | None) -> Floats:
        """Each domain's mean style over `draws` latents, float32 [domains, style_size]; without domains, one. Called
        only if `condition` has `means`; None: as in `condition`."""
        raise TypeError(f"{type(self).__name__} has means in its condition, so it must define mean_styles")
