"""The page is one file, and says what was measured."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from starcast.benchmarks.demo.page import Picture, file_uri, png_uri, write_page
from starcast.benchmarks.demo.variants import VariantRow

CONTENT = {
    "title": "A <title>", "lead": "Lead.", "pictures": [], "videos": [],
    "quality": [], "quality_note": "", "variants": [],
    "speed": [["PyTorch eager", "7.5"]], "speed_headers": ["", "median ms"], "speed_chart": "data:image/png;base64,",
    "speed_note": "", "speed_remarks": ["It varied."], "stages": [], "commands": "starcast demo", "facts": "{}",
}  # fmt: skip


def test_a_page_holds_its_figures_and_loads_nothing_from_elsewhere(tmp_path):
    picture = Picture(heading="Sheet", caption="Caption", uri=png_uri(np.zeros((2, 2, 3), np.uint8)))
    write_page(tmp_path / "report.html", **{**CONTENT, "pictures": [picture]})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in page
    assert "7.5" in page
    assert "It varied." in page
    assert "http" not in page


def test_a_variant_is_one_row_of_the_page(tmp_path):
    row = VariantRow(
        engines="OpenVINO", form="taps9", precision="int8+bf16", size="12.0 MB", difference="37.2 dB, 33.0 at worst",
        gate="35 dB, 30 at worst", passed=True,
    )  # fmt: skip
    write_page(tmp_path / "report.html", **{**CONTENT, "variants": [row, replace(row, passed=False)]})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    first, second = (line for line in page.splitlines() if "<td>OpenVINO</td>" in line)
    assert "<td>12.0 MB</td><td>37.2 dB, 33.0 at worst</td><td>35 dB, 30 at worst</td>" in first
    assert '<td class="good">passed</td>' in first
    assert '<td class="bad">failed</td>' in second


def test_content_that_is_forgotten_is_an_error_and_not_an_empty_place(tmp_path):
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "report.html", **{name: CONTENT[name] for name in CONTENT if name != "lead"})
    assert not (tmp_path / "report.html").exists()


def test_a_picture_in_the_page_keeps_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    encoded = png_uri(pixels).removeprefix("data:image/png;base64,")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))), pixels)


def test_a_file_in_the_page_keeps_its_bytes(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\x00\x01film")
    encoded = file_uri(tmp_path / "clip.mp4", "video/mp4").partition("base64,")[2]
    assert base64.b64decode(encoded) == b"\x00\x01film"
