"""Plan what `starcast build` builds from a bundle: one order per graph and GPU generation."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from starcast.command_line import command_line
from starcast.errors import OptionError, VariantMissingError
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest_bounds import CHANNELS, Shape
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.engine_cache import EngineSpec
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, Flavour
from starcast.runtime.nvidia.tensorrt.profiles import Profile, Range, batch_range, own_size, profile, size_range
from starcast.runtime.nvidia.tensorrt.targets import Targets
from starcast.runtime.variants import Variant

STYLES = Range(1, 1, 8)  # per run, independent of the batch of images: styles are made once, mostly one by one


@dataclass(frozen=True, kw_only=True)
class Order:
    """An engine to build, and the file of its graph."""

    spec: EngineSpec
    graph: Path
    weight: int  # bytes of the graph: a measure of how long the build takes

    @property
    def flavour(self) -> Flavour:
        return FLAVOURS[self.spec.flavour]

    @property
    def name(self) -> str:
        """For messages: `generator/taps16-fused-fp16.onnx for sm89`."""
        return f"{self.spec.role} for {self.spec.target}"


def plan_orders(bundle: Bundle, options: BuildOptions, targets: Targets) -> tuple[Order, ...]:
    """Orders for the frame graph and the graphs that make styles, target by target.

    Raises OptionError, VariantMissingError, and BundleError where a file has changed.
    """
    variant = choose_variant(bundle, options, targets.flavour)
    version = targets.flavour.version()
    gpu = targets.gpu
    orders = []
    for role, precision, inputs in _graphs(bundle, variant, options):
        graph, digest = bundle.graph(role)
        plugged = variant.adain == "plugin" and role == variant.file
        spec = EngineSpec(
            bundle=str(bundle.path.resolve()), role=role, graph=digest, precision=precision, inputs=inputs,
            flavour=targets.flavour.name, version=version, target="", gpu=gpu.name if gpu else None,
            driver=gpu.driver if gpu else None, plugin=kernel_digest() if plugged else None,
        )  # fmt: skip
        orders.append(Order(spec=spec, graph=graph, weight=bundle.graph_bytes(role)))
    return tuple(
        replace(order, spec=msgspec.structs.replace(order.spec, target=target))
        for target in targets.generations
        for order in orders
    )


def choose_variant(bundle: Bundle, options: BuildOptions, flavour: Flavour) -> Variant:
    """The flavour's first variant in the chosen precision, and in the form if one was named. Raises
    VariantMissingError."""
    made = [one for one in bundle.manifest.variants if flavour.name in one.engines and one.condition == "style"]
    found = [one for one in made if one.precision == options.precision and options.form in (None, one.form_name)]
    if found:
        return found[0]
    has = ", ".join(f"{one.form_name} in {one.precision}" for one in made) or "none at all"
    line = command_line(
        "starcast", "export", "CHECKPOINT", "-o", bundle.path, "--for", "tensorrt", "--precisions", options.precision
    )
    wanted = options.precision if options.form is None else f"{options.form} in {options.precision}"
    raise VariantMissingError(
        f"{bundle.path} has no graph for {flavour.title} in {wanted} (it has {has}): make one with `{line}`"
    )


def kernel_digest() -> str:
    """A hash of the kernel inside an engine: of its sources and the compiler's version."""
    kernels = importlib.util.find_spec("starcast.kernels")
    folders = kernels.submodule_search_locations if kernels is not None else None
    sources = [file for folder in folders or () for file in sorted(Path(folder).glob("*.py"))]
    digest = hashlib.sha256()
    for source in (*sources, Path(__file__).with_name("plugin.py")):
        digest.update(source.read_bytes())
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # the build will report that
        digest.update(importlib.metadata.version("triton").encode())
    return digest.hexdigest()


def _graphs(bundle: Bundle, variant: Variant, options: BuildOptions) -> Iterator[tuple[str, str, dict[str, Profile]]]:
    """Name, precision and inputs of every graph."""
    yield variant.file, variant.precision, _frame_inputs(bundle, variant, options)
    condition = bundle.manifest.condition
    for maker in (condition.latent, condition.reference, condition.classifier):
        if maker is not None:
            shapes = bundle.manifest.inputs_of(maker.graph)
            yield maker.graph, "fp32", {name: profile(STYLES, *_known(shape[1:])) for name, shape in shapes.items()}
    if bundle.manifest.source is not None:
        yield from _of_source(bundle, options)


def _of_source(bundle: Bundle, options: BuildOptions) -> Iterator[tuple[str, str, dict[str, Profile]]]:
    """Name, precision and inputs of the graphs that find landmarks and make extra inputs, for one source at a time."""
    manifest, image = bundle.manifest, profile(1, *_source_size(bundle, options), CHANNELS)
    for one in (manifest.landmarks, *manifest.extra_inputs):
        if one is not None:
            shapes = manifest.inputs_of(one.graph)
            inputs = {
                name: image if name == "image" else profile(1, *_known(shape[1:])) for name, shape in shapes.items()
            }
            yield one.graph, "fp32", inputs


def _frame_inputs(bundle: Bundle, variant: Variant, options: BuildOptions) -> dict[str, Profile]:
    """The inputs of the frame graph."""
    manifest, batch = bundle.manifest, batch_range(options.batch)
    _check_limits(bundle, variant, batch, options)
    inputs = {}
    if manifest.source is not None:
        height, width = _source_size(bundle, options)
        inputs["image"] = profile(batch, height, width, manifest.source.channels)
        # one style may serve all images, so this dimension is not tied to theirs
        styles = 1 if variant.one_style else Range(1, batch.usual, batch.largest)
        for one in manifest.extra_inputs:  # they grow with the source
            down = height.scaled(one.height, manifest.source.height)
            across = width.scaled(one.width, manifest.source.width)
            inputs[one.name] = profile(batch, one.channels, down, across)
    else:
        styles = batch  # each image has its own
    inputs["style"] = profile(styles, *manifest.condition.shape)
    for noise in manifest.noise_inputs:  # mostly constant: the same for all images
        inputs[noise.name] = profile(Range(1, 1, batch.largest), 1, noise.height, noise.width)
    return inputs


def _source_size(bundle: Bundle, options: BuildOptions) -> tuple[Range, Range]:
    """Height and width of the sources."""
    size = own_size(bundle.source) if options.size is None else size_range(options.size, bundle.source)
    return size.height, size.width


def _known(lengths: Shape) -> tuple[int, ...]:
    """The lengths of an input whose first axis alone may vary."""
    assert None not in lengths
    return tuple(length for length in lengths if length is not None)


def _check_limits(bundle: Bundle, variant: Variant, batch: Range, options: BuildOptions) -> None:
    if bundle.manifest.source is None and options.size is not None:
        raise OptionError(f"--size-range is {options.size!r}, but {bundle.path} makes images of one size: leave it out")
    if variant.max_batch is not None and batch.largest > variant.max_batch:
        raise OptionError(
            f"--batch-range is {options.batch!r}, but {variant.file} takes at most {variant.max_batch} images: "
            "give that"
        )
    if variant.sizes is not None and options.size is not None:
        raise OptionError(f"--size-range is {options.size!r}, but {variant.file} has a fixed size: leave it out")
