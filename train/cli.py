"""`starcast train`, `plot`, `dataset`, `download`: parse, call one function, print. torch loads inside the commands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from starcast.click_options import StarcastOption, options_from, out_option
from starcast.command_line import command_line, path_argument
from starcast.config_file import config_option
from starcast.errors import DatasetError
from starcast.options import as_json, from_flat
from starcast.path_types import ExistingPath, FileOutput, LocalPath, name_in
from starcast.train.creatures.options import CreatureOptions
from starcast.train.downloads.catalogue import ITEMS
from starcast.train.families import DEFAULT, FAMILIES, options_class
from starcast.train.family_flags import FamilyCommand, family_flags, family_option
from starcast.train.options import TrainOptions
from starcast.utf8 import json_text

_FOLDER = ExistingPath(file_okay=False)
_LOSSES = "losses.png"


@click.command("train", cls=FamilyCommand)
@click.argument("data", type=_FOLDER)
@out_option("run", "the run's folder, with checkpoints, samples and losses.")
@click.option(
    "--resume", is_flag=True,
    help="Continue the run in OUT from its newest complete checkpoint, or from the beginning if it has none yet, with "
    "the options stored there. Options given here replace them, except those that decide the networks' shapes.",
)  # fmt: skip
@click.option(
    "--from", "parent", type=ExistingPath(), metavar="CHECKPOINT",
    help="Start from the weights of CHECKPOINT: a file, a run's folder or an official folder. Sizes come from it; "
    "steps, optimizers, random draws and new domains start afresh. With --resume, continue the run of another program "
    "instead, if its checkpoint has optimizers.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the options as JSON for --config, and exit.")
@family_option()
@family_flags()
@click.pass_context
def train(
    context: click.Context, /, data: Path, run: Path, resume: bool, parent: Path | None, dry_run: bool, family: str,
    **values: Any,
) -> int:  # fmt: skip
    """Train a model on a folder of images, one subfolder per domain.

    --family chooses the model: StarGAN v2 takes styles from references or random latents, StarGAN v1 takes labels.
    DATA holds <domain>/*.jpg (png, webp, bmp, tiff), <domain>/{train,val,test}/ or {train,val,test}/<domain>/.
    On Ctrl-C, SIGTERM, a closed terminal or a batch system's signal, the run saves a checkpoint before it ends.

    Example: starcast train photos/ -o run/ --image-size 128 --steps 20000
    """
    given = {name: value for name, value in values.items() if _was_given(context, name)}
    if resume:
        return _resume(data, run, family, parent, given, dry_run)
    if parent is not None:
        return _start_from(parent, data, run, family, values, given, dry_run)
    options = from_flat(options_class(family), values)
    if dry_run:
        return _print_options(options)
    from starcast.train import run as training_run

    return _finish(lambda: training_run.train(data, run, options))


def _start_from(
    path: Path, data: Path, run: Path, family: str, values: dict[str, Any], given: dict[str, Any], dry_run: bool
) -> int:
    from starcast.train import run as training_run
    from starcast.train.start_checkpoint import check_sizes, open_parent, sizes_of
    from starcast.train.terminal import print_line

    parent = open_parent(path, print_line)
    options = from_flat(options_class(family), {**values, **sizes_of(parent, options_class(family)), **given})
    check_sizes(options, parent)
    if dry_run:
        return _print_options(options)
    return _finish(lambda: training_run.train(data, run, options, parent=parent))


def _resume(data: Path, run: Path, family: str, parent: Path | None, given: dict[str, Any], dry_run: bool) -> int:
    from starcast.hold import hold_folder
    from starcast.train import run as training_run
    from starcast.train.run_folder import RunFolder
    from starcast.train.state import Start, find_start, resumed_options, start_elsewhere
    from starcast.train.terminal import print_line

    def find() -> Start:
        folder = RunFolder(run)
        return find_start(folder, print_line) if parent is None else start_elsewhere(parent, folder, print_line)

    if dry_run:
        return _print_options(resumed_options(find(), family, given))
    with hold_folder(run):  # before anything is read: a run that is alive replaces its checkpoints
        start = find()
        options = resumed_options(start, family, given)
        return _finish(lambda: training_run.continue_run(data, run, options, start))


def _finish(training: Callable[[], Path]) -> int:
    """The exit status: 0, or 128 + the signal that stopped the run."""
    from starcast.train.stopping import TrainingStopped

    try:
        checkpoint = training()
    except TrainingStopped as stopped:
        with contextlib.suppress(OSError):  # the terminal may be what went away
            click.echo(str(stopped), err=True)
        return stopped.status
    click.echo(f"Trained: {checkpoint}")
    return 0


def _was_given(context: click.Context, name: str) -> bool:
    """Whether an option was set on the command line or in --config, not left at its default."""
    return context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


def _print_options(options: TrainOptions) -> int:
    click.echo(json_text(as_json(options)))
    return 0


@click.command("plot")
@click.argument("run", type=_FOLDER)
@out_option(
    "out", "a .png or .csv file, or a folder for a PNG; default: RUN/losses.png.", required=False, kind=FileOutput()
)
@click.option(
    "--smoothing", cls=StarcastOption, type=click.FloatRange(0.0, 0.999), default=0.9, show_default=True,
    metavar="NUMBER", help="Share of the running mean kept at each point; 0: no smoothing.",
)  # fmt: skip
def plot(run: Path, out: str | None, smoothing: float) -> None:
    """Draw the loss curves of a run as PNG, or write its losses as CSV.

    This also works while the run is still training.

    Example: starcast plot run/
    """
    from starcast.train.plot import plot_run

    click.echo(plot_run(run, run / _LOSSES if out is None else name_in(out, _LOSSES), smoothing))


@click.command("download")
@click.argument("name", metavar="NAME", type=click.Choice(list(ITEMS)))
@click.argument("folder", metavar="[DIR]", default=".", type=LocalPath(is_output=True, file_okay=False))
@click.option(
    "--url", "urls", multiple=True, metavar="URL",
    help="Download from this address instead. If NAME has several files, give one --url for each, in their order.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask: you agree to the licence shown.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing output.")
def download(name: str, folder: Path, urls: tuple[str, ...], yes: bool, overwrite: bool) -> None:
    """Fetch an official data set or official weights, after showing licence and size.

    NAME is afhq, afhq-v2, celeba-hq or celeba (data sets), afhq-network, celeba-hq-network or wing (weights).

    A download that breaks off continues when you give the same command again. What arrives is opened before it is put
    in place, and its SHA-256 is shown and recorded. DIR is the current folder by default.

    Example: starcast download afhq-network weights
    """
    from starcast.train.downloads import run as downloads
    from starcast.train.terminal import print_line

    def ask(question: str) -> bool:
        if yes:
            print_line(question.removesuffix("?"))
            return True
        try:
            return click.confirm(question, err=True)
        except click.Abort:  # nobody can answer
            return False

    for path in downloads.download(name, folder, urls=urls, overwrite=overwrite, ask=ask, progress=print_line):
        click.echo(path)


@click.group("dataset")
def dataset() -> None:
    """Draw a data set, make one from attributes, or check a folder."""


@dataset.command("make")
@click.argument("folder", metavar="", required=False, type=LocalPath(is_output=True))  # OUT's old place
@out_option("out", "the data set's folder.", required=False)
@config_option()
@options_from(CreatureOptions)
def make(folder: Path | None, out: Path | None, **values: Any) -> None:
    """Draw creatures of several domains, and a short video of one.

    The domain decides the coat's pattern and the range of its colours; pose and colour are random.

    Example: starcast dataset make -o creatures/
    """
    out = out or folder
    if out is None:
        raise click.UsageError("Missing option '-o' / '--out'.")
    options = CreatureOptions(**values)
    from tqdm import tqdm

    from starcast.train.creatures.dataset import make_dataset

    with tqdm(unit="image", desc="Drawing", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        creatures = make_dataset(out, options, progress)
    click.echo(
        f"{creatures.images} images of {', '.join(creatures.domains)} in {creatures.folder}; video: {creatures.video}"
    )
    line = command_line("starcast", "train", path_argument(out), "-o", "RUN", "--image-size", options.image_size)
    click.echo(f"Train on them: {line}")


@dataset.command("attributes")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@out_option("out", "the folder of domains, with a link to each image.")
@click.option(
    "--list", "file", type=ExistingPath(), metavar="FILE",
    help="List of attributes, a row per image: CelebA's list_attr_celeba.txt, or CSV. Default: the one in DIR or "
    "beside it.",
)  # fmt: skip
@click.option(
    "--domain", "domains", multiple=True, required=True, metavar="NAME=ATTRIBUTE,…",
    help="A domain, and the attributes its images must have; !ATTRIBUTE: must not have. Repeat for each domain.",
)  # fmt: skip
def attributes(folder: Path, out: Path, file: Path | None, domains: tuple[str, ...]) -> None:
    """Make domains from a list of attributes, such as CelebA's.

    OUT holds a folder of links for each domain; no image is copied.

    Example: starcast dataset attributes celeba/ -o genders/ --domain male=Male --domain female=!Male
    """
    from starcast.train.data.attribute_domains import link_domains, parse_domain

    listed, counts = link_domains(folder, out, file, [parse_domain(text) for text in domains])
    for note in listed.notes:
        click.echo(note, err=True)
    for name, (training, held_out) in counts.items():
        click.echo(f"{name}: {training:,} images, {held_out:,} more held out")
    click.echo(f"Train on them: {command_line('starcast', 'train', path_argument(out), '-o', 'RUN')}")


@dataset.command("check")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--family", cls=StarcastOption, default=DEFAULT, show_default=True, metavar="NAME",
    help=f"Model family to train: {', '.join(FAMILIES)}. It decides how the folder is read.",
)  # fmt: skip
@options_from(options_class(), only=("domains", "image_size"))
def check(folder: Path, family: str, domains: tuple[str, ...], image_size: int) -> int:
    """Read every image of a folder and list what is wrong.

    The exit status is 1 if training would fail.

    Example: starcast dataset check photos/ --image-size 128
    """
    from tqdm import tqdm

    from starcast.train.data.check import check_data_set, scan_for_check

    try:
        data_set = scan_for_check(folder, family, domains)
    except DatasetError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    images = sum(len(domain.training) + len(domain.held_out) for domain in data_set.domains)
    with tqdm(total=images, unit="image", desc="Reading", leave=False) as bar:
        report = check_data_set(data_set, image_size, bar.update)
    click.echo(report.table())
    for sentence in report.problems:
        click.echo(f"- {sentence}")
    for sentence in report.failures:
        click.echo(f"Error: {sentence}", err=True)
    return 1 if report.failures else 0
