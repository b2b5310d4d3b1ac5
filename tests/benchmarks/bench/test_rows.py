"""Which rows there are, and how they are named on the command line."""

from __future__ import annotations

import msgspec
import pytest

from starcast.benchmarks.bench.rows import PEERS, bundle_rows, chosen
from starcast.errors import OptionError
from starcast.runtime.bundle import open_bundle

KEYS = [*PEERS, "ours-openvino-taps9-fp32", "ours-onnxruntime-taps9-fp32"]


def test_without_names_every_row_is_measured():
    assert chosen(KEYS, ()) == KEYS


def test_names_may_be_patterns_and_the_baseline_is_always_there_and_first():
    assert chosen(KEYS, ("ours-openvino-*", "plain-*")) == [
        "eager", "plain-onnxruntime", "plain-openvino", "ours-openvino-taps9-fp32",
    ]  # fmt: skip


def test_a_name_that_fits_no_row_is_refused_with_those_that_there_are():
    with pytest.raises(OptionError, match=r"tensorflow.*eager.*ours-onnxruntime-taps9-fp32"):
        chosen(KEYS, ("eager", "tensorflow"))


def test_the_quick_rows_leave_out_what_has_to_be_compiled_or_calibrated_unless_it_is_named():
    quick = chosen(KEYS, (), quick=True)
    assert "compiled" not in quick
    assert "nncf-openvino" not in quick
    assert set(KEYS[-2:]) <= set(quick)
    assert chosen(KEYS, ("compiled",), quick=True) == ["eager", "compiled"]


def test_a_bundle_gives_a_row_for_every_engine_of_every_variant(tiny_bundle):
    rows, left_out = bundle_rows(open_bundle(tiny_bundle), (32, 32), 2, 1)
    assert [row.key for row in rows] == ["ours-openvino-plain-fp32", "ours-onnxruntime-plain-fp32"]
    assert rows[0].name == "starcast on OpenVINO, plain, fp32"
    assert all(row.ours and row.batch == 2 for row in rows)
    assert left_out == []


def test_a_variant_that_cannot_run_here_or_at_this_size_is_named_with_the_reason(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    [variant] = bundle.manifest.variants
    variants = (
        msgspec.structs.replace(variant, engines=("abacus",)),
        msgspec.structs.replace(variant, engines=("openvino",), sizes=((64, 64),), one_style=True),
    )
    other = type(bundle)(bundle.path, msgspec.structs.replace(bundle.manifest, variants=variants), bundle.sha256)
    rows, left_out = bundle_rows(other, (32, 32), 1, 1)
    assert rows == []
    assert [out.name for out in left_out] == [
        "starcast on abacus, plain, fp32", "starcast on OpenVINO, plain, one style, fp32",
    ]  # fmt: skip
    assert "64x64" in left_out[1].reason
