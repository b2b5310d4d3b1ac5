"""Paths on the command line: what is no path on this machine is refused before the work, in one sentence.

`-` means standard input or output, which one command takes. A URL is not opened; a `file:` URL is the path in it. What
exists under such a name is meant: `./-` is a file called `-`.
"""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import click

from starcast.absence import absence_of, is_url, local_path
from starcast.atomic import repair_folder
from starcast.errors import OptionError, printable


class Standard(enum.Enum):
    """What `-` stands for: standard input as a source, standard output as OUT."""

    STREAM = "-"


class LocalPath(click.Path):
    """A path on this machine. `is_output`: it is written to."""

    def __init__(self, *, is_output: bool = False, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)
        self._is_output = is_output

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == Standard.STREAM.value:
            stream = "output" if self._is_output else "input"
            raise OptionError(
                f"{_name_of(param, value)} cannot be -, which means standard {stream}: give a path, or ./- for a file "
                "called -"
            )
        return super().convert(self._local(value), param, ctx)

    def _local(self, value: Any) -> Any:
        """The path that a URL means; anything else as it is. Raises OptionError."""
        if not is_url(value) or _exists(value):
            return value
        local = local_path(value)
        if local is not None:
            return local
        if self._is_output:
            raise OptionError(f"{printable(value)} is a URL, and output goes to files on this machine: give a path")
        raise OptionError(f"{printable(value)} {absence_of(Path(value))}")


class ExistingPath(LocalPath):
    """A path that must exist; a folder that a killed command was about to replace is put back first."""

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, exists=True)

    def _local(self, value: Any) -> Any:
        local = super()._local(value)
        repair_folder(Path(local))
        if not _exists(local) or not Path(local).exists():
            raise OptionError(f"{printable(local)} {absence_of(Path(local))}")
        return local


class SourcePath(click.Path):
    """A path, a URL or a pattern, which are looked at one by one later; or Standard.STREAM."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Standard.STREAM if value == Standard.STREAM.value else super().convert(value, param, ctx)


class LocalOrStream(LocalPath):
    """A path on this machine, or Standard.STREAM."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in (Standard.STREAM, Standard.STREAM.value):
            return Standard.STREAM
        return super().convert(value, param, ctx)


class OutputPath(LocalPath):
    """A path to write to, or Standard.STREAM."""

    def __init__(self) -> None:
        super().__init__(is_output=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in (Standard.STREAM, Standard.STREAM.value):
            return Standard.STREAM
        return super().convert(value, param, ctx)


class FileOutput(LocalPath):
    """A file to write, or a folder to write it into: `name_in` knows which. Arrives as text, because a Path keeps no
    slash at its end. `takes_stream`: `-` is standard output."""

    def __init__(self, *, takes_stream: bool = False) -> None:
        super().__init__(is_output=True)
        self._takes_stream = takes_stream

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._takes_stream and value == Standard.STREAM.value:
            return value
        super().convert(value, param, ctx)
        return os.fspath(self._local(value))


def name_in(output: str, name: str) -> Path:
    """The file that an output means: itself, or `name` in it if it is a folder or ends as one."""
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return Path(output, name) if output.endswith(separators) or os.path.isdir(output) else Path(output)  # noqa: PTH112


def _exists(path: Any) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a null character
        return False


def _name_of(param: click.Parameter | None, value: Any) -> str:
    """How a user knows a parameter: by its flag, or its place."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return printable(value) if param is None else (param.metavar or (param.name or "").upper())
