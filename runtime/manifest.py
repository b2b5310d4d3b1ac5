"""manifest.json: what a bundle holds, described by roles and not by families of networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from starcast.runtime.manifest_bounds import (
    CHANNELS,
    LARGEST_VECTOR,
    MOST_CHANNELS,
    MOST_POINTS,
    Amount,
    Layers,
    Length,
    Positive,
    Shape,
    Side,
)
from starcast.runtime.variants import Variant

# 1: the first
# 2: variants may read scales and shifts instead of a style, or one style for a whole batch
# 3: every graph lists its weight files; variants name their engines, and how their norms are written
FORMAT = 3
MANIFEST = "manifest.json"

Reads = Literal["image", "heatmaps"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The image to translate: uint8 RGB, NHWC. Its sides are multiples of `stride`. `height` and `width`: the trained
    size."""

    channels: Positive
    height: Side
    width: Side
    stride: Side


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """The image that a generator without a source makes: uint8 NHWC, grey, RGB or RGBA by `channels`."""

    channels: Literal[1, 3, 4]
    height: Side
    width: Side


class NoiseInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the frame graph that takes noise: float32 [N or 1, 1, height, width]."""

    name: str
    height: Side
    width: Side


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """The noise that a generator adds to its features, one input a layer, in the order of the layers.

    `constants` is an .npz with an array float32 [1, 1, height, width] for each input, by name: the noise that belongs
    to the checkpoint. Without it, constant noise is drawn from a fixed seed.
    """

    inputs: tuple[NoiseInput, ...]
    constants: str | None = None

    @property
    def size(self) -> int:
        """Numbers in the noise of one image."""
        return sum(one.height * one.width for one in self.inputs)


class GraphFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A graph, and the files that hold its weights if the graph file does not."""

    graph: str
    weights: tuple[str, ...] = ()


class LatentMaker(GraphFiles, frozen=True, kw_only=True):
    """graph: `latent` float32 [N, size], `domain` int64 [N] -> `style` float32 [N, S]. A bundle without domains has no
    input `domain`."""

    size: Length


class ReferenceMaker(GraphFiles, frozen=True, kw_only=True):
    """graph: `image` uint8 [N, height, width, 3] RGB, `domain` int64 [N] -> `style` float32 [N, S]."""

    height: Side
    width: Side


class Classifier(GraphFiles, frozen=True, kw_only=True):
    """graph: `image` uint8 [N, height, width, 3] RGB -> `logits` float32 [N, names]; an image has the attributes whose
    logits are above 0."""

    height: Side
    width: Side


class LabelMaker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition given as named numbers, in the order of the vector.

    The last `classes` names exclude each other: an image has one. If attributes stand before them, an image has
    attributes or a class, and two more numbers at the end of the vector say which. `classifier` reads which labels an
    image has.
    """

    names: tuple[str, ...]
    classes: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_VECTOR)] = 0
    classifier: Classifier | None = None

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return self.names[: len(self.names) - self.classes]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names[len(self.names) - self.classes :]

    @property
    def has_both(self) -> bool:
        return 0 < self.classes < len(self.names)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.names) + (2 if self.has_both else 0)


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vector of `size` numbers that steers a translation, and the ways to make one.

    `layers`: a style has one such vector for each of so many layers, [layers, size]. The graphs that make styles still
    give one vector, which all layers share until styles are mixed. None: one vector for the whole network.

    `means` is an .npz with the array `mean` float32 [domains, size]: each domain's mean over `mean_draws` latents;
    [1, size] without domains.
    `product` is the graph `style` float32 [N, size] -> `gamma_beta` float32 [N, T]: the norms' scales and shifts, or
    the weights of a convolution, or all that follows from styles by layer, [N, layers, size], for variants that read
    them instead of the style.
    """

    size: Length
    layers: Layers | None = None
    product: GraphFiles | None = None
    latent: LatentMaker | None = None
    reference: ReferenceMaker | None = None
    labels: LabelMaker | None = None
    means: str | None = None
    mean_draws: Amount | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one style: [size], or [layers, size]."""
        return (self.size,) if self.layers is None else (self.layers, self.size)

    @property
    def classifier(self) -> Classifier | None:
        """What reads the labels of an image, if anything does."""
        return None if self.labels is None else self.labels.classifier

    @property
    def only_labels(self) -> LabelMaker | None:
        """The labels, if they are the only way to make a condition."""
        return self.labels if self.latent is None and self.reference is None else None


class LandmarkMaker(GraphFiles, frozen=True, kw_only=True):
    """Finds the landmarks of a face. graph: `image` uint8 [N, H, W, 3] of any size -> `heatmaps` float32 [N, points,
    height, width], one map for each landmark."""

    points: Annotated[int, msgspec.Meta(ge=1, le=MOST_POINTS)]
    height: Side
    width: Side
    flop: Amount = 0  # of the graph's convolutions, for one image
    working: Amount | None = None  # bytes of the graph's values that are alive at once, for one image


class ExtraInput(GraphFiles, frozen=True, kw_only=True):
    """A further input of the frame graph, made from the source by a graph of its own, such as masks of a face.

    graph: `image` uint8 [N, H, W, 3] of any size, or, by `reads`, the source's `heatmaps` -> float32 [N, channels,
    height, width]. The frame graph takes that for sources of the trained size; for others it is enlarged or reduced as
    they are (bilinear, corners not aligned).
    """

    name: str
    reads: Reads = "image"
    channels: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHANNELS)]
    height: Side
    width: Side
    flop: Amount = 0  # of the graph's convolutions, for one image
    working: Amount | None = None  # bytes of the graph's values that are alive at once, for one image


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle comes from."""

    family: str
    layout: str
    checkpoint: str
    checkpoint_sha256: str
    step: int | None
    dataset: str | None
    options: dict[str, Any] | None
    starcast: str
    torch: str
    created: str


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The hash and size that a file of the bundle must have."""

    sha256: str
    bytes: Amount


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of manifest.json."""

    format: int
    source: Source | None
    output: Output | None = None  # of a generator without a source; a translation is as large as its source
    condition: Condition
    noise: Noise | None = None
    landmarks: LandmarkMaker | None = None
    extra_inputs: tuple[ExtraInput, ...] = ()
    domains: tuple[str, ...]  # empty only without a source
    variants: tuple[Variant, ...]
    provenance: Provenance
    files: dict[str, FileFacts]

    @property
    def trained_size(self) -> tuple[int, int]:
        """(height, width) of an image at the trained size: the source's, or that of what is generated."""
        image = self.output if self.source is None else self.source
        assert image is not None  # `decode` refuses such a manifest
        return image.height, image.width

    @property
    def mean_shape(self) -> tuple[int, int]:
        """The shape of the mean styles: one for each domain, or one for a bundle without domains."""
        return max(1, len(self.domains)), self.condition.size

    @property
    def source_makers(self) -> tuple[LandmarkMaker | ExtraInput, ...]:
        """What runs once on every source before the frame graph, in order."""
        maps = self.landmarks
        reads_maps = any(one.reads == "heatmaps" for one in self.extra_inputs)
        return (*((maps,) if maps is not None and reads_maps else ()), *self.extra_inputs)

    def weights_of(self, graph: str) -> tuple[str, ...]:
        """The weight files of a graph; empty if it has none."""
        condition = self.condition
        parts = (condition.latent, condition.reference, condition.product, condition.classifier, self.landmarks)
        weights = {part.graph: part.weights for part in (*parts, *self.extra_inputs) if part is not None}
        return (weights | {variant.file: variant.weights for variant in self.variants}).get(graph, ())

    def inputs_of(self, graph: str) -> dict[str, Shape]:
        """The inputs that a graph must have, by name; empty if the manifest does not name the graph."""
        condition, source = self.condition, self.source
        image: dict[str, Shape] = {} if source is None else {"image": (None, None, None, source.channels)}
        noise: dict[str, Shape] = {one.name: (None, 1, one.height, one.width) for one in self.noise_inputs}
        extra: dict[str, Shape] = {one.name: (None, one.channels, None, None) for one in self.extra_inputs}
        domain: dict[str, Shape] = {"domain": (None,)} if self.domains else {}
        style: Shape = (None, *condition.shape)
        inputs: dict[str, dict[str, Shape]] = {}
        for variant in self.variants:
            inputs[variant.file] = {
                **image, variant.condition: style if variant.condition == "style" else (None, None), **noise, **extra
            }  # fmt: skip
        for one in self.extra_inputs:
            inputs[one.graph] = image if one.reads == "image" else self._heatmaps
        if self.landmarks is not None:
            inputs[self.landmarks.graph] = image
        if condition.latent is not None:
            inputs[condition.latent.graph] = {"latent": (None, condition.latent.size), **domain}
        if condition.reference is not None:
            sides = condition.reference.height, condition.reference.width
            inputs[condition.reference.graph] = {"image": (None, *sides, CHANNELS), **domain}
        if condition.classifier is not None:
            sides = condition.classifier.height, condition.classifier.width
            inputs[condition.classifier.graph] = {"image": (None, *sides, CHANNELS)}
        if condition.product is not None:
            inputs[condition.product.graph] = {"style": style}
        return inputs.get(graph, {})

    @property
    def _heatmaps(self) -> dict[str, Shape]:
        """The heatmaps as an input."""
        maps = self.landmarks
        return {} if maps is None else {"heatmaps": (None, maps.points, maps.height, maps.width)}

    @property
    def noise_inputs(self) -> tuple[NoiseInput, ...]:
        """The inputs of the frame graph that take noise, in the order of the layers."""
        return () if self.noise is None else self.noise.inputs
