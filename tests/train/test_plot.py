"""Loss curves: what shares a panel, what smoothing does, and that a run in progress can be drawn."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from starcast.errors import CheckpointError
from starcast.train.cli import plot
from starcast.train.plot import panels, plot_run, smooth


def test_latent_and_reference_share_a_panel():
    found = panels([{"step": 10, "G/latent_cyc": 1.0, "G/ref_cyc": 2.0, "G/lambda_ds": 3.0, "D/latent_real": 4.0}])
    assert found == {
        "G cyc": {"latent": [(10, 1.0)], "reference": [(10, 2.0)]},
        "G lambda_ds": {"value": [(10, 3.0)]},
        "D real": {"latent": [(10, 4.0)]},
    }


@given(st.floats(-1e6, 1e6), st.integers(1, 50), st.floats(0, 0.999))
def test_smoothing_leaves_a_constant_curve_as_it_is(value, count, smoothing):
    assert smooth([value] * count, smoothing) == pytest.approx([value] * count, rel=1e-6, abs=1e-9)


def test_smoothing_weighs_the_past_exponentially():
    # by hand: (0.5 * 1) / 0.5; (0.25 * 1 + 0.5 * 3) / 0.75
    assert smooth([1.0, 3.0], 0.5) == pytest.approx([1.0, 7 / 3])


def write_run(folder, half_line=""):
    lines = [json.dumps({"step": step, "G/ref_cyc": 1 / step, "G/latent_cyc": 2 / step}) for step in (10, 20, 30)]
    (folder / "losses.jsonl").write_text("\n".join(lines) + "\n" + half_line)


def test_a_run_in_progress_is_drawn(tmp_path):
    write_run(tmp_path, half_line='{"step": 40, "G/re')
    result = CliRunner().invoke(plot, [str(tmp_path)], standalone_mode=False)
    assert result.exception is None
    with Image.open(tmp_path / "losses.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000


def test_a_folder_without_losses_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no losses\.jsonl"):
        plot_run(tmp_path, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_losses_are_written_as_csv(tmp_path):
    lines = [{"step": 1, "D/real": 0.5}, {"step": 2, "D/real": 0.25, "D/penalty": 1e-3}]
    (tmp_path / "losses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plot_run(tmp_path, tmp_path / "losses.csv")
    assert (tmp_path / "losses.csv").read_text() == "step,D/real,D/penalty\n1,0.5,\n2,0.25,0.001\n"
