"""The demo's page: images, videos and figures in a single HTML file that can be mailed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from starcast.atomic import write_text


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image of the page with its heading; `uri` is a data URI."""

    heading: str
    caption: str
    uri: str
    style: str = "pixels"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value and its bar; `met` is None if there is no bar."""

    what: str
    value: str
    bar: str
    met: bool | None


def write_page(path: Path, **content: Any) -> None:
    """Fill the template and write the page, atomically. A value that the template lacks is an error."""
    environment = Environment(
        loader=PackageLoader("starcast.benchmarks.demo", "."), autoescape=True, undefined=StrictUndefined
    )
    write_text(path, environment.get_template("page.html.j2").render(**content))


def png_uri(image: NDArray[np.uint8]) -> str:
    """An image, uint8 [H, W, 3], as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def file_uri(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
