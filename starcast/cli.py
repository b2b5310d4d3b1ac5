"""The root command: a table of verbs, each imported only when it is called, so that `--help` imports no room."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from starcast import __version__
from starcast.errors import MissingExtraError, StarcastError, printable, reason_of
from starcast.refusals import sentence_of
from starcast.signals import Stopped, leave, stop_on_signals

# verb -> (where its click command lives, what it does); in the order of a user's work
VERBS: dict[str, tuple[str, str]] = {
    "demo": (
        "starcast.benchmarks.cli:demo",
        "Draw a data set, train, export, translate, measure, and show everything on one page.",
    ),
    "dataset": ("starcast.train.cli:dataset", "Draw a data set, make one from attributes, or check a folder."),
    "download": (
        "starcast.train.cli:download",
        "Fetch an official data set or official weights, after showing licence and size.",
    ),
    "train": ("starcast.train.cli:train", "Train a model on a folder of images, one subfolder per domain."),
    "plot": ("starcast.train.cli:plot", "Draw the loss curves of a run as PNG, or write its losses as CSV."),
    "average": (
        "starcast.benchmarks.cli:average",
        "Average the weights of several checkpoints of a training, which often translates better than the last one.",
    ),
    "export": ("starcast.export.cli:export", "Turn a checkpoint, ours or official, into a bundle of ONNX graphs."),
    "inspect": ("starcast.export.cli:inspect", "Show what a checkpoint or bundle holds, and which engines can run it."),
    "align": (
        "starcast.runtime.faces.cli:align",
        "Cut faces out of images or a video, upright in a square, as face models expect them.",
    ),
    "translate": ("starcast.runtime.cli:translate", "Translate images and folders of images."),
    "generate": (
        "starcast.runtime.generate.cli:generate",
        "Generate images from seeds with a model that needs no source, such as StyleGAN2.",
    ),
    "video": ("starcast.runtime.video.cli:video", "Translate videos, keeping their sound and timing."),
    "morph": ("starcast.runtime.video.cli:morph", "Render a video that loops smoothly through several styles."),
    "live": ("starcast.runtime.live.cli:live", "Translate a camera or a stream as it happens, in a window."),
    "serve": ("starcast.runtime.serve.cli:serve", "Serve a bundle: a page in the browser, and an HTTP API."),
    "build": (
        "starcast.runtime.nvidia.tensorrt.cli:build",
        "Build TensorRT engines from a bundle, for this GPU or for named ones.",
    ),
    "engines": (
        "starcast.runtime.nvidia.tensorrt.cli:engines",
        "List or remove the TensorRT engines built on this machine.",
    ),
    "bench": (
        "starcast.benchmarks.cli:bench",
        "Measure a bundle on every installed engine against PyTorch and plain exports.",
    ),
    "evaluate": (
        "starcast.benchmarks.cli:evaluate",
        "Measure the quality of a checkpoint's or bundle's translations: FID, LPIPS and KID.",
    ),
    "doctor": (
        "starcast.runtime.cli:doctor",
        "Show the engines and devices of this machine, and how to install missing ones.",
    ),
}

# what a room needs beyond the base install: missing module -> extra
EXTRAS = {
    "torch": "train,export", "torchvision": "train", "tensorboard": "train", "matplotlib": "train",
    "onnx": "export", "onnx_ir": "export", "onnxscript": "export", "onnxruntime": "cpu", "openvino": "openvino",
    "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx", "triton": "tensorrt",
    "cuda": "tensorrt-rtx", "torchmetrics": "evaluate", "lpips": "evaluate", "scipy": "evaluate",
    "torch_fidelity": "evaluate", "pooch": "download", "requests": "download", "pygame": "live", "starlette": "serve",
    "uvicorn": "serve", "websockets": "serve", "python_multipart": "serve", "cryptography": "serve",
    "segno": "serve",
}  # fmt: skip

_UNWRITTEN = "{} cannot be written ({}): redirect it to another place"


class VerbTable(click.Group):
    """A group whose commands are named in VERBS and imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, function = VERBS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    # click would exit with 1 if nobody reads the output any more, which means that some inputs failed
    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **settings)
        except BrokenPipeError:
            raise click.exceptions.Exit(_mute()) from None

    def invoke(self, ctx: click.Context) -> Any:
        from starcast.leftovers import own_temporary_files  # not for --help and --version, which it would slow down

        try:
            with own_temporary_files():
                return super().invoke(ctx)
        except BrokenPipeError:
            return _mute()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.group(cls=VerbTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="starcast")
def root() -> None:
    """Train image-translation GANs, export them as bundles of ONNX graphs, and run bundles on images and videos."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 if all went well, 1 if some inputs failed, 2 on wrong usage."""
    # OpenMP threads that spin while they wait starve other processes; threads that sleep at once wake up late. This is
    # a compromise. Seconds for a step of a test loop on two idle cores, and with one of them busy: by default (a
    # millisecond of spinning) 0.74 and 2.7, without spinning 1.03 and 1.6, with this 0.79 and 2.2.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    _fill_closed()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # also where another library imports ONNX Runtime
    for stream in (sys.stdout, sys.stderr):  # a legacy console or a pipe must not turn a file name into a traceback
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with stop_on_signals():
            status = _run(arguments)
    except Stopped as stopped:
        status = 128 + stopped.number
    status = _flush(status)
    if arguments is None:
        leave(status)
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    """Run the command line; the exit status. Errors that a user can fix are one sentence on stderr."""
    try:
        result: Any = root.main(args=arguments, prog_name="starcast", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code if error.exit_code != 1 else 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except StarcastError as error:
        return _fail(str(error), error.exit_status)
    except MemoryError:
        return _fail("there is not enough memory: give a smaller --batch or fewer --workers, or free some memory", 1)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        return _fail(str(missing_extra(missing)), 2)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _fail(_sentence_of(error), 1)
    return result if isinstance(result, int) else 0


def _fill_closed() -> None:
    """Reopen any of stdin, stdout and stderr that the caller has closed, so that no file gets its number: libraries
    written in C would send their messages there."""
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  for as long as we run


def _flush(status: int) -> int:
    """Write what is buffered for stdout and stderr; the exit status, if that succeeds."""
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            return _mute()
        except OSError as error:
            _mute(stream)
            return _fail(_UNWRITTEN.format(name, reason_of(error)), status or 1)
        except ValueError:  # closed
            continue
    return status


def _sentence_of(error: OSError) -> str:
    """What went wrong with which file, from an error that no room has put into words."""
    if error.filename is None:
        import traceback  # rarely needed, and `--help` is to be instant

        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == "click.utils":  # a line for the user: the disk behind `>` is full
            return _UNWRITTEN.format("standard output", reason_of(error))
    return sentence_of(error)


def _mute(*streams: Any) -> int:
    """Let stdout and stderr, or other streams, lead nowhere, because nobody reads them; returns the exit status."""
    for stream in streams or (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 141


def missing_extra(module: str) -> MissingExtraError:
    """The error for a package that is not installed, with the line that installs it."""
    return MissingExtraError(
        f"this command needs {module}, which is not installed: pip install 'starcast[{EXTRAS[module]}]'"
    )


def _fail(sentence: str, status: int) -> int:
    lines = "\n".join(map(printable, sentence.split("\n")))  # a file's name may hold what moves a terminal's cursor
    click.echo(f"Error: {lines}", err=True)
    return status
