from __future__ import annotations

import msgspec

from starcast.benchmarks.demo.pictures import parity_figures
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.manifest import DomainQuality, Quality


def test_the_page_tells_what_each_variants_gate_measured(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [exact] = bundle.manifest.variants
    found = DomainQuality(pictures=8, psnr_mean=37.25, psnr_worst=33.0, ssim_mean=0.98, ssim_worst=0.95)
    int8 = msgspec.structs.replace(exact, precision="int8", quality=Quality(domains={"dog": found}), parity=None)
    manifest = msgspec.structs.replace(bundle.manifest, variants=(exact, int8))
    figures = parity_figures(Bundle(bundle.path, manifest, bundle.sha256))
    assert [(figure.value, figure.met) for figure in figures] == [
        ("0.0e+00", True), ("0", True), ("37.2 and 33.0", None),
    ]  # fmt: skip
    assert "into dog over 8 pictures" in figures[2].what
