"""What is measured: a checkpoint and the bundle that was exported from it, trained ones or a full-size random pair; and
the pictures that every row gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from starcast.benchmarks.bench.inputs import Inputs, held_out_pictures
from starcast.benchmarks.bench.peers import latent_styles
from starcast.benchmarks.bench.rows import Row
from starcast.benchmarks.options import BenchOptions
from starcast.errors import OptionError
from starcast.export.gate.images import pictures
from starcast.export.options import ADAIN, ExportOptions
from starcast.export.precisions import CPU_ENGINES, precisions_for
from starcast.export.write import export_bundle
from starcast.images.read import write_image
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.manifest import MANIFEST
from starcast.train.checkpoint.file import Checkpoint, averaged_networks, write_checkpoint
from starcast.train.families.stargan_v2.networks import StarGANv2Config
from starcast.train.families.stargan_v2.random_weights import random_networks

Say = Callable[[str], None]

# name -> sizes and domains of networks that are made with random weights, to be timed at full size
CONFIGS: dict[str, tuple[StarGANv2Config, tuple[str, ...]]] = {
    "afhq": (StarGANv2Config(image_size=256, domains=3), ("cat", "dog", "wild")),
}
MEAN_DRAWS = 1000  # nobody looks at the mean styles of random networks
CONTRAST = 0.5  # of the last layer's weights: translations then spread as photographs do, by about 0.45 in -1..1
# A random network is no trained one: it amplifies every rounding. In bf16 and int8 it shows what a picture costs, and
# not how good it is, so that its export may pass a lower gate; the table has its own.
MIN_PSNR = 20.0
CALIBRATED_ON = 40
PICTURES = 3  # that are compared, at least
# what a bundle of random networks gets, by the device that is to run it
EXPORTS = {
    "cpu": ExportOptions(mean_draws=MEAN_DRAWS, precision=precisions_for(CPU_ENGINES), min_psnr=MIN_PSNR),
    "cuda": ExportOptions(
        mean_draws=MEAN_DRAWS, precision=("fp32", "fp16", "bf16"), min_psnr=MIN_PSNR, adain=ADAIN,
        backends=("openvino", "onnxruntime", "tensorrt"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A checkpoint and its bundle; `folder` is for files that the measurement needs besides. `engines`: where those of
    a bundle are that was made to be measured, so that nobody else builds them; None: what the user built is taken."""

    checkpoint: Path
    bundle: Bundle
    folder: Path
    engines: Path | None = None


@contextmanager
def opened_subject(
    bundle: Path | None, options: BenchOptions, say: Say = lambda _: None, *, device: str = "cpu"
) -> Iterator[Subject]:
    """What the command line names; what has to be made is made for a device, "cpu" or "cuda". Raises OptionError,
    BundleError, CheckpointError and ParityError."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.config is not None:
            if options.checkpoint is not None:
                raise OptionError("--config makes a checkpoint of its own: leave out --checkpoint")
            place = bundle or folder / options.config
            yield Subject(*made(options.config, place, say, device), folder, place.with_name(f"{place.name}.engines"))
        elif bundle is None:
            raise OptionError("there is nothing to measure: give a bundle, or --config afhq")
        else:
            opened = open_bundle(bundle)
            yield Subject(checkpoint_of(opened, options.checkpoint), opened, folder)


def checkpoint_of(bundle: Bundle, given: Path | None = None) -> Path:
    """What a bundle was exported from: `given`, or the file of that name beside the bundle, in a run's folder there or
    in the working folder. Raises OptionError where it is another file, or nowhere."""
    origin = bundle.manifest.provenance
    if given is not None:
        if sha256_of(given) != origin.checkpoint_sha256:
            raise OptionError(f"{given} is not what {bundle.path} was exported from: that was {origin.checkpoint}")
        return given
    for place in (bundle.path.resolve().parent, Path.cwd()):
        for pattern in ("", "*/", "*/checkpoints/", "*/snapshots/"):
            for file in sorted(place.glob(f"{pattern}{origin.checkpoint}")):
                if file.is_file() and sha256_of(file) == origin.checkpoint_sha256:
                    return file
    raise OptionError(
        f"{bundle.path} was exported from {origin.checkpoint}, which is not found beside it: name it with --checkpoint"
    )


def inputs_of(checkpoint: Checkpoint, row: Row, data: Path | None) -> Inputs:
    """Whole batches of pictures, and the style of seed 0 in the first domain."""
    config = checkpoint.config
    count = row.batch * -(-PICTURES // row.batch)
    style = latent_styles(averaged_networks(checkpoint), config.latent_dim, config.domains, 1)
    return Inputs(held_out_pictures(data_of(checkpoint, data), count, row.size), style)


def data_of(checkpoint: Checkpoint, data: Path | None) -> Path | None:
    """The data set that was asked for, or the checkpoint's."""
    path = (checkpoint.dataset or {}).get("path")
    return data or (Path(path) if path else None)


def made(config: str, bundle: Path, say: Say, device: str = "cpu") -> tuple[Path, Bundle]:
    """A checkpoint of a named configuration with random weights, and its bundle; a pair that is there is taken."""
    checkpoint = bundle.with_name(f"{bundle.name}.pt")
    if (bundle / MANIFEST).is_file() and checkpoint.is_file():
        kept = open_bundle(bundle)
        return checkpoint_of(kept, checkpoint), kept
    sizes, domains = CONFIGS[config]
    say(f"making {config} with random weights")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    networks = random_networks(sizes, seed=0)
    last = networks.generator.to_rgb[-1]
    assert isinstance(last, nn.Conv2d)
    last.weight.data *= CONTRAST
    write_checkpoint(checkpoint, config=sizes, domain_names=domains, step=0, averaged=networks)
    with TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures(CALIBRATED_ON, sizes.image_size, sizes.image_size, seed=9)):
            write_image(Path(folder) / f"{number}.png", picture)
        options = replace(EXPORTS[device], calibrate=Path(folder))
        return checkpoint, export_bundle(checkpoint, bundle, options, say)
