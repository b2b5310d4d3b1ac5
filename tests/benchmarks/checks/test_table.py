"""What a parity check answers where there is nothing to compare, or the comparison fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from starcast.benchmarks.checks import comparison
from starcast.benchmarks.checks import table as module
from starcast.benchmarks.checks.check import NotRunError
from starcast.benchmarks.checks.table import CHECKS, PREPARE, parity
from starcast.errors import BundleError, EngineError, OptionError


@pytest.fixture
def to_compare(tmp_path, monkeypatch):
    """A folder with a bundle, whose comparison raises what is given."""
    (tmp_path / comparison.BUNDLE).mkdir()
    monkeypatch.setattr(module, "require_torch_gpu", lambda: None)

    def fails_with(error: Exception) -> Path:
        def compare(*_, **__):
            raise error

        monkeypatch.setattr(comparison, "compare", compare)
        return tmp_path

    return fails_with


def test_parity_without_a_bundle_names_the_check_that_should_have_made_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "require_torch_gpu", lambda: None)
    with pytest.raises(NotRunError, match=f"there is no bundle to compare with: see why `{PREPARE}` made none"):
        parity("torch", "fp32", tmp_path)
    assert PREPARE in [check.name for check in CHECKS]


def test_a_precision_that_the_gpu_has_not_is_no_failure(to_compare):
    with pytest.raises(NotRunError, match="sm_86 has no fp8"):
        parity("torch", "fp16", to_compare(OptionError("sm_86 has no fp8")))


@pytest.mark.parametrize("error", [BundleError("the bundle is damaged"), EngineError("no memory")], ids=str)
def test_a_damaged_bundle_and_a_run_that_fails_are_failures(to_compare, error):
    with pytest.raises(type(error), match=str(error)):
        parity("torch", "fp16", to_compare(error))
