"""The page is one file, and says what was measured."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from starcast.benchmarks.demo.page import Picture, VariantRow, file_uri, png_uri, variant_rows, write_page
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.variants import DomainQuality, Parity, Quality

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
    assert re.findall(r"<td[^>]*>([^<]*)</td>", first) == [
        "OpenVINO", "taps9", "int8+bf16", "12.0 MB", "37.2 dB, 33.0 at worst", "35 dB, 30 at worst", "passed"
    ]  # fmt: skip
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


def rows_of(bundle, **changes):
    """The row of the bundle's only variant, changed."""
    [exact] = bundle.manifest.variants
    manifest = msgspec.structs.replace(bundle.manifest, variants=(exact, msgspec.structs.replace(exact, **changes)))
    return variant_rows(Bundle(bundle.path, manifest, bundle.sha256))


def test_a_float32_variant_is_told_by_its_largest_difference(tiny_bundle):
    off = Parity(worst=3e-4, tolerance=2e-4, levels=1, images=8, batches=(1,))
    exact, wrong = rows_of(open_bundle(tiny_bundle), parity=off, bytes=12_340_000, one_style=True)
    assert (exact.engines, exact.form, exact.precision) == ("OpenVINO, ONNX Runtime", "plain", "fp32")
    assert (exact.difference, exact.gate, exact.verdict) == (
        "0 grey levels (0e+00 before rounding)",
        "1 grey level (2e-04)",
        "passed",
    )
    assert (wrong.form, wrong.size) == ("plain, one style", "12.3 MB")
    assert (wrong.difference, wrong.verdict) == ("1 grey level (3e-04 before rounding)", "failed")


def test_a_smaller_precision_is_told_by_the_domain_that_is_furthest_from_float32(tiny_bundle):
    domains = {
        "cat": DomainQuality(images=8, psnr_mean=37.25, psnr_worst=31.0, ssim_mean=0.98, ssim_worst=0.95),
        "dog": DomainQuality(images=8, psnr_mean=36.0, psnr_worst=33.0, ssim_mean=0.98, ssim_worst=0.95),
    }
    _, int8 = rows_of(
        open_bundle(tiny_bundle), precision="int8", rest="bf16", quality=Quality(domains=domains), parity=None
    )  # fmt: skip
    assert (int8.precision, int8.difference, int8.gate) == (
        "int8+bf16", "36.0 dB, 31.0 at worst", "35 dB, 30 at worst",
    )  # fmt: skip
    assert int8.passed
    worse = {**domains, "dog": msgspec.structs.replace(domains["dog"], psnr_mean=34.9)}
    _, below = rows_of(open_bundle(tiny_bundle), precision="int8", quality=Quality(domains=worse), parity=None)
    assert below.verdict == "failed"


def test_a_variant_that_was_not_measured_says_so(tiny_bundle):
    _, unknown = rows_of(open_bundle(tiny_bundle), parity=None, quality=None)
    assert (unknown.difference, unknown.verdict) == ("—", "not measured")
