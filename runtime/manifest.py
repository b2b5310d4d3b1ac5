"""manifest.json: what a bundle holds, described by roles and not by families of networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

# 1: the first
# 2: variants may read scales and shifts instead of a style, or one style for a whole batch
# 3: every graph lists its weight files; variants name their engines, and how their norms are written
FORMAT = 3
MANIFEST = "manifest.json"

# Bounds on what a manifest may say. Bundles come from strangers: without them a number alone, with no data behind it,
# would decide how much memory is allocated. All are far above what today's networks need.
LARGEST_SIDE = 2**14  # pixels
LARGEST_VECTOR = 2**20  # numbers in a style or a latent
LARGEST_MEANS = 2**26  # numbers in the mean styles of all domains together
LARGEST_NOISE = 2**26  # numbers in the noise of one image
MOST_LAYERS = 2**10  # that have a style, or noise, of their own
MOST_CHANNELS = 64  # of an extra input
MOST_POINTS = 2**10  # landmarks of a face
LARGEST_EXTRA = 2**24  # numbers in an extra input of one image, or in its heatmaps
CHANNELS = 3  # of every source, and of its translation

Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**60)]
Side = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SIDE)]
Length = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VECTOR)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=MOST_LAYERS)]
Shape = tuple[int | None, ...]  # of a graph's input; None: any length
# How a variant's norms are written: as the engine's own operator; as arithmetic that TensorRT fuses; as a node for
# starcast's plugin; or, for comparison, as the engine's own operator in half precision.
Adain = Literal["native", "fused", "plugin", "unfused"]
Rest = Literal["bf16"]
Takes = Literal["style", "gamma_beta"]
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


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What the export's gate measured against PyTorch, over `images` images in batches of `batches`.

    `worst` is max |a - b| / max(1, |b|) before the last Round, in the network's own units (-1..1); `levels` is
    the largest difference between written bytes.
    """

    worst: float
    tolerance: float
    levels: int
    images: int
    batches: tuple[int, ...]
    flat_levels: int | None = None  # `levels` on images mostly of one colour, where engines lose digits


class DomainQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How close the translations into one domain are to float32's, byte by byte: PSNR in dB (peak 255; 100 if all
    bytes are equal) and SSIM, over images that were not used for calibration."""

    images: int
    psnr_mean: float
    psnr_worst: float
    ssim_mean: float
    ssim_worst: float


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate of a precision below float32 measured, by domain, on the worst of the variant's engines."""

    domains: dict[str, DomainQuality]


class KeptLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that a quantised variant does not quantise: it is in float32, in the variant's `rest`, or in fp16 for
    TensorRT. `psnr_gain` (dB, on the search's images) adds to the gain of the layers kept before it."""

    layer: str
    flop_share: float
    psnr_gain: float


class Norm(msgspec.Struct, frozen=True, kw_only=True):
    """How a variant with fused norms computes one norm's statistics.

    `ratio` is the largest |mean| / std of a channel, over the calibration images and some images of one colour. One
    pass, E[x²] - E[x]², is exact enough in float32 while `ratio` is small; two passes always are.
    `centred`: the convolution before the norm subtracts the channels' usual means, and `ratio` is what remains.
    """

    name: str
    statistics: Literal["one-pass", "two-pass"]
    ratio: float
    centred: bool = False


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One frame graph: `image` uint8 [N, H, W, 3] and a condition -> uint8 [N, H, W, 3], called `translation`.

    The condition is `style` float32 [N or 1, size], or `gamma_beta` float32 [N or 1, T], which the bundle's product
    computes from the style. With `one_style` it has one row, for the whole batch.

    Without a source there is no `image`: a condition for each image, which may be a style [N, layers, size], and the
    inputs for noise -> uint8 [N, H, W, C].
    """

    file: str
    weights: tuple[str, ...] = ()  # files that the graph reads its weights from
    engines: tuple[str, ...]
    form: str  # how resampling is written
    adain: Adain = "native"
    precision: str
    rest: Rest | None = None  # precision of the layers that are not int8; None: as stored
    condition: Takes = "style"
    one_style: bool = False
    max_batch: Positive | None = None  # None: no limit
    sizes: tuple[tuple[Side, Side], ...] | None = None  # (height, width); None: every multiple of the source's stride
    parity: Parity | None = None  # of a float32 variant
    quality: Quality | None = None  # of a variant in a lower precision
    kept: tuple[KeptLayer, ...] = ()
    norms: tuple[Norm, ...] = ()  # how fused norms and plugins compute statistics; empty: as the engine does
    flop: Amount  # of the convolutions, for an image at the trained size; a multiply-add counts as 2
    bytes: Amount  # of the graph and the weights that it reads
    working: Amount | None = None  # bytes of its values that are alive at once, for an image at the trained size
    rewrites: dict[str, int] = {}  # how often each exact rewrite was applied, by name

    @property
    def arithmetic(self) -> str:
        """`int8`, or `int8+bf16`."""
        return self.precision if self.rest is None else f"{self.precision}+{self.rest}"

    @property
    def form_name(self) -> str:
        """The form as `--form` names it: `taps16`, or `taps16-plugin` if the norms are not the form's usual ones."""
        return self.form if self.adain in ("native", "fused") else f"{self.form}-{self.adain}"


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
