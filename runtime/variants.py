"""What a manifest says of one stored frame graph: its files, its engines, and what the export's gate measured."""

from __future__ import annotations

from typing import Literal

import msgspec

from starcast.runtime.manifest_bounds import Amount, Positive, Side

# How a variant's norms are written: as the engine's own operator; as arithmetic that TensorRT fuses; as a node for
# starcast's plugin; or, for comparison, as the engine's own operator in half precision.
Adain = Literal["native", "fused", "plugin", "unfused"]
Rest = Literal["bf16"]
Takes = Literal["style", "gamma_beta"]


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
