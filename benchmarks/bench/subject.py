"""What is measured: a checkpoint, trained or with random weights at full size, and the bundle exported from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from starcast.benchmarks.bench.device import Device, Progress
from starcast.benchmarks.bench.random_weights import (
    export_random,
    export_ungated,
    original_config,
    write_random_checkpoint,
)
from starcast.benchmarks.bench.rows import LeftOut
from starcast.benchmarks.options import SubjectOptions
from starcast.errors import OptionError
from starcast.runtime.bundle import Bundle, open_bundle, sha256_of
from starcast.runtime.manifest import MANIFEST

PLAIN = "plain.onnx"  # in the subject's folder
LEFT_OUT_BY_QUICK = (
    LeftOut(name="starcast in int8", reason="left out by --quick: choosing its layers takes minutes"),
)  # fmt: skip
UNGATED = "--quick exports random weights without the export's gates: each row is compared with eager PyTorch here"


@dataclass(frozen=True)
class Subject:
    """A checkpoint and its bundle. `folder` is for other files that the measurement needs. `engines` is the folder
    where a generated bundle's engines are built; None: use the engines that the user built. `left_out` and `remarks`
    are shown with the result."""

    checkpoint: Path
    bundle: Bundle
    folder: Path
    engines: Path | None = None
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()


@contextmanager
def open_subject(
    bundle: Path | None,
    options: SubjectOptions,
    device: Device,
    progress: Progress = lambda _: None,
    *,
    quick: bool = False,
) -> Iterator[Subject]:
    """Open the subject that the options name; random weights are generated and exported for the device.

    Raises OptionError, BundleError, CheckpointError and ParityError.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.config is not None:
            if options.checkpoint is not None:
                raise OptionError("--random-weights makes a checkpoint of its own: leave out --checkpoint")
            place = bundle or folder / options.config
            yield _open_random(options.config, place, folder, device, progress, quick=quick)
        elif bundle is None:
            raise OptionError("there is nothing to measure: give a bundle, or --random-weights afhq")
        else:
            opened = open_bundle(bundle)
            yield Subject(checkpoint_of(opened, options.checkpoint), opened, folder)


def checkpoint_of(bundle: Bundle, given: Path | None = None) -> Path:
    """The checkpoint of a bundle: `given`, or the file of the recorded name beside the bundle, in a run's folder there,
    or in the working folder. Raises OptionError if it is not found, or `given` is another file."""
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


def _open_random(
    config: str, place: Path, folder: Path, device: Device, progress: Progress, *, quick: bool
) -> Subject:  # fmt: skip
    """A checkpoint with random weights in a named configuration, and its bundle, kept at `place`.

    An existing pair is reused. A quick bundle has fewer variants, so it is kept in a separate folder.
    """
    quick_options = device.quick_options() if quick and not _pair_exists(place) else None
    if quick_options is not None:
        place = place.with_name(f"{place.name}-quick")
    checkpoint = _checkpoint_beside(place)
    if _pair_exists(place):
        bundle = open_bundle(place)
        checkpoint_of(bundle, checkpoint)
    else:
        sizes, domains = original_config(config)
        progress(f"making {config} with random weights")
        write_random_checkpoint(checkpoint, sizes, domains)
        if quick_options is not None:
            bundle = export_ungated(checkpoint, place, quick_options, folder / PLAIN, progress)
        else:
            bundle = export_random(checkpoint, place, sizes, device.export_options(), progress)
    engines = place.with_name(f"{place.name}.engines") if device.builds_engines else None
    if quick_options is None:
        return Subject(checkpoint, bundle, folder, engines)
    return Subject(checkpoint, bundle, folder, engines, LEFT_OUT_BY_QUICK, (UNGATED,))


def _pair_exists(bundle: Path) -> bool:
    return (bundle / MANIFEST).is_file() and _checkpoint_beside(bundle).is_file()


def _checkpoint_beside(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.pt")
