"""A bundle without a source, so small that its images can be worked out with numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graph_text import write_graph_text
from numpy.typing import NDArray

from starcast.runtime.bundle import sha256_of
from starcast.runtime.manifest import (
    FORMAT,
    MANIFEST,
    Condition,
    FileFacts,
    LatentMaker,
    Manifest,
    Noise,
    NoiseInput,
    Output,
    Provenance,
)
from starcast.runtime.manifest_json import encode
from starcast.runtime.variants import Parity, Variant

LATENT, STYLE, LAYERS = 4, 6, 4
FRAME_GRAPH, CONSTANTS = "generator/plain-fp32.onnx", "noise.npz"

# Small multiples of powers of two: float32 sums of them are exact, so that engines and numpy agree to the bit.
MEAN = (np.arange(STYLE) % 5 - 2).astype(np.float32) / 2
FROM_LATENT = (np.arange(LATENT * STYLE).reshape(LATENT, STYLE) % 3 - 1).astype(np.float32) / 4

# The first noise is half as large as the image, the second as large.
FRAME = """
<ir_version: 8, opset_import: ["": 17]>
generator (float[N, {layers}, {size}] style, float[A, 1, {half_h}, {half_w}] noise_0,
           float[B, 1, {height}, {width}] noise_1) => (uint8[N, {height}, {width}, {channels}] translation)
<float[{numbers}, {channels}] colours, int64[2] flat = {{-1, {numbers}}}, int64[2] axes = {{1, 2}},
 float[4] twice = {{1, 1, 2, 2}}, float grey = {{128}}, float strong = {{16}}, float low = {{0}}, float high = {{255}}>
{{
    rows = Reshape (style, flat)
    colour = MatMul (rows, colours)
    offset = Unsqueeze (colour, axes)
    coarse = Resize <mode = "nearest"> (noise_0, , twice)
    noise = Add (coarse, noise_1)
    noise_nhwc = Transpose <perm = [0, 2, 3, 1]> (noise)
    grains = Mul (noise_nhwc, strong)
    pixels = Add (offset, grains)
    bright = Add (pixels, grey)
    whole = Round (bright)
    clipped = Clip (whole, low, high)
    translation = Cast <to = 2> (clipped)
}}
"""
MAPPING = """
<ir_version: 8, opset_import: ["": 17]>
mapping (float[N, 4] latent) => (float[N, 6] style)
<float[4, 6] from_latent, float[6] mean>
{
    change = MatMul (latent, from_latent)
    style = Add (change, mean)
}
"""


@dataclass(frozen=True)
class TinyGenerator:
    """What the graphs of such a bundle compute, in float64."""

    channels: int = 3
    height: int = 16
    width: int = 16

    @property
    def colours(self) -> NDArray[np.float32]:
        """What each number of each layer's style adds to each channel."""
        numbers = LAYERS * STYLE
        rows = np.arange(numbers * self.channels).reshape(numbers, self.channels)
        return ((rows * 5 % 11 - 5) * 2).astype(np.float32)

    @property
    def noise_sides(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the noise of each layer."""
        return (self.height // 2, self.width // 2), (self.height, self.width)

    @property
    def constants(self) -> list[NDArray[np.float32]]:
        """The checkpoint's own noise, [1, 1, h, w] a layer."""
        return [
            (np.arange(height * width).reshape(1, 1, height, width) % (5 + layer) - 2).astype(np.float32) / 2
            for layer, (height, width) in enumerate(self.noise_sides)
        ]

    def style(self, latent: NDArray[np.float32]) -> NDArray[np.float64]:
        """latent [N, 4] -> style [N, 6]."""
        return latent.astype(np.float64) @ FROM_LATENT + MEAN

    def images(self, styles: NDArray[np.floating], noise: list[NDArray[np.floating]]) -> NDArray[np.uint8]:
        """styles [N, layers, 6], noise [N or 1, 1, h, w] a layer -> uint8 [N, H, W, C]."""
        colour = styles.reshape(len(styles), -1).astype(np.float64) @ self.colours.astype(np.float64)
        grains = noise[0].repeat(2, axis=2).repeat(2, axis=3).astype(np.float64) + noise[1].astype(np.float64)
        pixels = 128 + colour[:, None, None] + 16 * grains.transpose(0, 2, 3, 1)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def write_generator_bundle(folder: Path, model: TinyGenerator = TinyGenerator(), *, constants: bool = True) -> Path:
    """Write the bundle; without `constants`, it holds no constant noise."""
    (folder / "generator").mkdir(parents=True)
    half_h, half_w = model.noise_sides[0]
    frame = FRAME.format(
        layers=LAYERS, size=STYLE, numbers=LAYERS * STYLE, half_h=half_h, half_w=half_w, height=model.height,
        width=model.width, channels=model.channels,
    )  # fmt: skip
    write_graph_text(folder / FRAME_GRAPH, frame, colours=model.colours)
    write_graph_text(folder / "mapping.onnx", MAPPING, from_latent=FROM_LATENT, mean=MEAN)
    np.savez(folder / "styles.npz", mean=MEAN[None])
    if constants:
        np.savez(
            folder / CONSTANTS, **{f"noise_{number}": values for number, values in enumerate(model.constants)}
        )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(_manifest(folder, model, constants)))
    return folder


def _manifest(folder: Path, model: TinyGenerator, constants: bool) -> Manifest:
    inputs = tuple(
        NoiseInput(name=f"noise_{number}", height=height, width=width)
        for number, (height, width) in enumerate(model.noise_sides)
    )
    variant = Variant(
        file=FRAME_GRAPH, engines=("openvino", "onnxruntime"), form="plain", precision="fp32",
        parity=Parity(worst=0.0, tolerance=2e-4, levels=0, images=4, batches=(1, 3)), flop=0,
        bytes=(folder / FRAME_GRAPH).stat().st_size,
    )  # fmt: skip
    provenance = Provenance(
        family="test", layout="starcast", checkpoint="tiny.pt", checkpoint_sha256="0" * 64, step=1, dataset=None,
        options=None, starcast="0.1.0", torch="2.14.1", created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return Manifest(
        format=FORMAT,
        source=None,
        output=Output(channels=model.channels, height=model.height, width=model.width),  # type: ignore[arg-type]
        condition=Condition(
            size=STYLE,
            layers=LAYERS,
            latent=LatentMaker(graph="mapping.onnx", size=LATENT),
            means="styles.npz",
            mean_draws=10_000,
        ),
        noise=Noise(inputs=inputs, constants=CONSTANTS if constants else None),
        domains=(),
        variants=(variant,),
        provenance=provenance,
        files={
            name: FileFacts(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size) for name in names
        },
    )
