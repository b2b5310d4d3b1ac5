"""`-` as a source or output: an image from standard input, a translation or aligned image to standard output.

Both go through files: an image is read by its first bytes and more than once, and an image is written as a whole
or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from starcast.errors import ImageError, OptionError, StarcastError, printable
from starcast.leftovers import temporary_folder
from starcast.path_types import Standard

STDIN, STDOUT = "standard input", "standard output"
_CHUNK = 2**20
_LARGEST = 2**26  # bytes, besides 16 for each pixel that is allowed: what no image needs, and an endless stream passes


Outcome = TypeVar("Outcome")
MakeOptions = Callable[..., Any]  # the options class of the command


def run_piped(
    work: Callable[..., Outcome],
    sources: Sequence[Path | Standard],
    values: Mapping[str, Any],
    make_options: MakeOptions,
    *,
    progress: Callable[[str], None],
    show_progress: bool = False,
) -> Outcome:
    """`work(sources, options, named=, progress=, show_progress=)` where a source, the output, or both are a pipe.

    `values` are those of `make_options`, among them `output`, `format` and `max_pixels`. Returns what `work` returns.
    Raises what `work` does, OptionError for what a pipe cannot be, and BrokenPipeError.
    """
    to_stdout = values["output"] is Standard.STREAM
    _check(sources, to_stdout)
    with contextlib.ExitStack() as stack:
        stdout = stack.enter_context(own_stdout()) if to_stdout else -1
        folder = stack.enter_context(temporary_folder())
        source, target = folder / "stdin", folder / f"translation.{values['format']}"
        options = make_options(**{**values, "output": target if to_stdout else values["output"]})
        if Standard.STREAM in sources:
            _spool(source, 16 * options.max_pixels + _LARGEST)
        with naming({printable(source): STDIN, printable(target): STDOUT}) as name:
            report = work(
                [source if given is Standard.STREAM else given for given in sources],
                options,
                named=[given.value if isinstance(given, Standard) else str(given) for given in sources],
                progress=lambda line: progress(name(line)),
                show_progress=show_progress,
            )
        if to_stdout and target.exists():
            with target.open("rb") as file, open(stdout, "wb", closefd=False) as out:
                shutil.copyfileobj(file, out, _CHUNK)
    return report


def _check(sources: Sequence[Path | Standard], to_stdout: bool) -> None:
    """Raise OptionError for what cannot work, before anything is read."""
    if list(sources).count(Standard.STREAM) > 1:
        raise OptionError("- is given twice as a source, but standard input holds one image: give it once")
    if Standard.STREAM in sources and is_terminal(0):
        raise OptionError(
            "standard input is a terminal, and - reads an image from it: pipe an image into it, or give a file"
        )
    if not to_stdout:
        return
    if len(sources) > 1:
        raise OptionError(f"-o - writes one image, but {len(sources)} sources are given: give -o a folder")
    if isinstance(sources[0], Path) and sources[0].is_dir():
        raise OptionError(f"-o - writes one image, but {printable(sources[0])} is a folder: give -o a folder, too")
    if is_terminal(1):
        raise OptionError(
            "standard output is a terminal, and -o - writes an image to it: redirect it, or give -o a file"
        )


def is_terminal(descriptor: int) -> bool:
    """Whether a descriptor is that of a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:  # closed
        return False


def _spool(target: Path, limit: int) -> None:
    """Copy standard input to a file. Raises ImageError if there is nothing in it, or more than `limit` bytes."""
    size = 0
    with target.open("wb") as file:
        while chunk := sys.stdin.buffer.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise ImageError(
                    f"standard input has more than {limit} bytes, which no image within the limit needs: give one "
                    "image, or raise --max-pixels"
                )
            file.write(chunk)
    if not size:
        raise ImageError("standard input is empty: pipe an image into it, or give a file")


@contextmanager
def own_stdout() -> Iterator[int]:
    """A descriptor of standard output. In the block, whatever else is written there goes to standard error: a line of
    a library in the middle of an image would spoil it."""
    sys.stdout.flush()
    descriptor = os.dup(1)
    try:
        os.dup2(2, 1)
        yield descriptor
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(descriptor, 1)
        os.close(descriptor)


@contextmanager
def naming(names: Mapping[str, str]) -> Iterator[Callable[[str], str]]:
    """Gives a function that replaces the paths of temporary files in a line; errors of the block have them replaced."""

    def name(line: str) -> str:
        for path, word in names.items():
            line = line.replace(path, word)
        return line

    try:
        yield name
    except StarcastError as error:
        raise type(error)(name(str(error))) from error
