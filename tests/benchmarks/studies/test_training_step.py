from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from starcast.benchmarks.studies import training_step as steps
from starcast.options import replace_options
from starcast.train.families.stargan_v2.options import StarGANv2Options

TINY = replace_options(
    StarGANv2Options(),
    image_size=32, channel_base=64, max_channels=4, style_dim=3, latent_dim=3, mapping_width=4, batch_size=2,
)  # fmt: skip


def test_ratios_are_paired_within_a_round_and_against_the_same_period_of_r1():
    seconds = {
        "original": [0.4, 0.8, 0.2],
        "starcast, images laid out alike": [0.2, 0.2, 0.2],
        "starcast": [0.1, 0.1, 0.1],
        "original, R1 every 4": [0.3, 0.3, 0.3],
        "starcast, R1 every 4": [0.1, 0.2, 0.3],
    }
    rows = {row["row"]: row for row in steps.figures(seconds, batch=8)}
    assert rows["starcast, images laid out alike"]["times_as_fast"] == {"median": 2, "least": 1, "greatest": 4}
    assert rows["starcast, R1 every 4"]["times_as_fast"] == {"median": 1.5, "least": 1, "greatest": 3}
    assert rows["original"]["times_as_fast"] == {"median": 1, "least": 1, "greatest": 1}
    assert (rows["starcast"]["steps_per_second"], rows["starcast"]["images_per_second"]) == (10, 80)


def test_a_row_is_compared_with_one_that_has_the_same_period_of_r1():
    by_label = {row.label: row for row in steps.ROWS}
    for row in steps.ROWS:
        assert by_label[row.against].r1_every == row.r1_every
        assert not by_label[row.against].lean
        assert steps.STEPS % row.r1_every == 0


def test_every_row_takes_its_turn_in_every_round_and_the_record_says_where_the_figures_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "training_options", lambda _: TINY)
    taken, measure = [], steps.measure_steps

    def measure_and_keep(*arguments, **settings):
        taken.append(measure(*arguments, **settings))
        return taken[-1]

    monkeypatch.setattr(steps, "measure_steps", measure_and_keep)
    path = tmp_path / "steps.json"
    result = CliRunner().invoke(steps.steps, ["--rounds", "2", "--threads", "1", "--json", str(path)])
    [seconds] = taken
    assert list(seconds) == [row.label for row in steps.ROWS]
    assert all(len(each) == 2 and min(each) > 0 for each in seconds.values())
    assert result.exit_code == 0, result.output
    assert "times as fast" in result.output
    record = json.loads(path.read_text())
    assert record["machine"]["threads"] == 1
    assert record["machine"]["command"].startswith("python -m starcast.benchmarks.studies.training_step")
    assert record["configuration"]["image_size"] == 32
    assert [row["row"] for row in record["rows"]] == [row.label for row in steps.ROWS]
    assert all(row["steps_per_second"] > 0 for row in record["rows"])


@pytest.fixture(autouse=True)
def _one_thread():
    before = steps.torch.get_num_threads()
    steps.torch.set_num_threads(1)
    yield
    steps.torch.set_num_threads(before)
