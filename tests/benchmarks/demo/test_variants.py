"""The page has one row for each variant, with what its gate measured."""

from __future__ import annotations

import msgspec

from starcast.benchmarks.demo.variants import variant_rows
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.manifest import DomainQuality, Parity, Quality


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
