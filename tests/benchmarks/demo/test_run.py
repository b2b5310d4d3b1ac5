"""The bar knows how far the whole is, stage by stage."""

from __future__ import annotations

import pytest

from starcast.benchmarks.demo.run import Stages


def test_a_stage_moves_the_bar_by_its_expected_seconds_whatever_it_took():
    with Stages({"first": 3.0, "second": 7.0}) as stages:
        with stages.stage("first"):
            stages.advance(0.5)
            assert stages._bar.n == pytest.approx(1.5)
        assert stages._bar.n == pytest.approx(3.0)
        with stages.stage("second"):
            stages.advance(0.5)
            assert stages._bar.n == pytest.approx(6.5)
        assert stages._bar.n == pytest.approx(10.0)
        assert list(stages.seconds) == ["first", "second"]


def test_a_share_above_one_does_not_run_past_the_stage():
    with Stages({"only": 4.0}) as stages, stages.stage("only"):
        stages.advance(2.0)
        assert stages._bar.n == pytest.approx(4.0)
