"""Read a small YAML file that a user wrote: plain values only, and of bounded size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from starcast.errors import OptionError, printable, reason_of

LARGEST = 4 * 2**20  # bytes


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises OptionError, which names the file."""
    name = printable(path)
    try:
        if not path.is_file():
            raise OptionError(f"{name} does not exist, or is no file: give the name of a YAML file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise OptionError(f"{name} cannot be read ({reason_of(error)}): check its permissions") from error
    if len(content) > LARGEST:
        raise OptionError(f"{name} has more than {LARGEST // 2**20} MiB: give a smaller file")
    try:
        return yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise OptionError(f"{name} is no YAML{where} ({error.problem}): fix it") from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise OptionError(f"{name} is no YAML: fix it") from error
