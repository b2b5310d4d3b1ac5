"""Rows are paired round by round, and one that cannot run says so while the others go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measured_rows import measured, row
from stand_in_gpu import ON_GPU, SHORT, measured_on_gpu
from tiny_generator import FRAME_GRAPH, LAYERS, STYLE, TinyGenerator

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.inputs import Inputs
from starcast.benchmarks.bench.measure import compiled_last, measure_rows, measure_throughput
from starcast.benchmarks.bench.method import Pace
from starcast.benchmarks.bench.prepare import bundle_rows
from starcast.benchmarks.bench.result import ratio
from starcast.benchmarks.bench.rows import Setting
from starcast.benchmarks.bench.worker import open_row
from starcast.errors import EngineError
from starcast.runtime.bundle import open_bundle


def test_a_ratio_is_taken_within_each_round():
    # the machine slowed down fourfold in the second round: the unpaired medians would give 2
    paired = ratio(measured("ours", (0.5, 1.0, 0.4)), measured("eager", (1.0, 4.0, 1.0)))
    assert (paired.median, paired.least, paired.greatest) == pytest.approx((2.5, 2.0, 4.0))


def test_images_per_second_count_the_batch():
    assert measured("eager", (0.5,), batch=4).images_per_second == pytest.approx(8.0)


def test_the_95th_percentile_lies_between_the_two_slowest_of_few_rounds():
    assert measured("eager", (0.001, 0.002, 0.003, 0.004, 0.005)).p95_ms == pytest.approx(4.8)


def test_processor_time_is_the_median_over_the_rounds():
    assert measured("eager", (0.1, 0.2, 0.9)).cpu_ms == pytest.approx(400)


@pytest.fixture
def inputs(tmp_path):
    draws = np.random.default_rng(0)
    path = tmp_path / "inputs.npz"
    Inputs(draws.integers(0, 256, (3, 32, 32, 3), np.uint8), draws.standard_normal((1, 8)).astype(np.float32)).save(
        path
    )
    return path


@pytest.fixture
def tiny_rows(tiny_bundle):
    """A row for each engine that is here, of a bundle whose arithmetic is exact on all of them."""
    rows, _ = bundle_rows(Cpu(), open_bundle(tiny_bundle), Setting(size=(32, 32)))
    return list(rows.values())


def test_a_bundle_is_measured_in_processes_of_its_own(tiny_rows, inputs):
    measurement = measure_rows(tiny_rows, inputs, pace=Pace(rounds=2))
    assert [found.row for found in measurement.rows] == tiny_rows
    for found in measurement.rows:
        assert len(found.seconds) == 2
        assert all(turn.cpu_seconds > 0 for turn in found.turns)
        assert min(found.seconds) > 0
        assert found.difference.levels == 0
        assert found.peak_rss is None or found.peak_rss > 10e6


def generated_inputs():
    draws = np.random.default_rng(0)
    styles = draws.integers(-2, 3, (3, LAYERS, STYLE)).astype(np.float32) / 2  # exact in the bundle's arithmetic
    noise = [draws.integers(-2, 3, (3, 1, *sides)).astype(np.float32) / 2 for sides in TinyGenerator().noise_sides]
    return Inputs(None, styles, {f"noise_{number}": one for number, one in enumerate(noise)})


def test_a_bundle_without_a_source_is_measured_on_styles_and_noise(generator_bundle, tmp_path):
    rows, left_out = bundle_rows(Cpu(), open_bundle(generator_bundle), Setting(size=(16, 16)))
    assert list(rows) == ["ours-openvino-plain-fp32", "ours-onnxruntime-plain-fp32"]
    assert left_out == {}
    plain = row("plain", engine="onnxruntime", form="plain", source=generator_bundle / FRAME_GRAPH)
    inputs, file = generated_inputs(), tmp_path / "inputs.npz"
    inputs.save(file)
    measurement = measure_rows([plain, *rows.values()], file, pace=Pace(rounds=1))
    assert [found.row for found in measurement.rows] == [plain, *rows.values()]
    assert [found.difference.levels for found in measurement.rows] == [0, 0, 0]
    expected = TinyGenerator().images(inputs.styles, list(inputs.extra.values()))
    np.testing.assert_array_equal(measurement.images, expected)


def test_without_a_source_images_may_share_their_noise(generator_bundle):
    [one, *_] = bundle_rows(Cpu(), open_bundle(generator_bundle), Setting(size=(16, 16)))[0].values()
    inputs = generated_inputs()
    shared = Inputs(None, inputs.styles, {name: array[:1] for name, array in inputs.extra.items()})
    expected = TinyGenerator().images(shared.styles, list(shared.extra.values()))
    np.testing.assert_array_equal(open_row(one)(shared), expected)


def test_what_there_is_after_each_round_is_handed_on(tiny_rows, inputs):
    kept: list[list[int]] = []
    measure_rows(
        tiny_rows, inputs, pace=Pace(rounds=2), keep=lambda found: kept.append([len(one.seconds) for one in found.rows])
    )
    assert kept == [[1] * len(tiny_rows), [2] * len(tiny_rows)]


def broken_row(key, folder):
    """A row whose graph does not exist. Its engine starts faster than PyTorch."""
    return row(key, engine="onnxruntime", form="plain", source=folder / "nowhere.onnx")


def test_a_row_that_cannot_be_opened_is_left_out_with_its_reason_and_the_others_go_on(tiny_rows, inputs, tmp_path):
    broken = broken_row("broken", tmp_path)
    measurement = measure_rows([tiny_rows[0], broken], inputs, pace=Pace(rounds=1))
    assert [found.row for found in measurement.rows] == [tiny_rows[0]]
    assert [out.name for out in measurement.left_out] == ["broken"]
    assert "nowhere.onnx" in measurement.left_out[0].reason


def test_without_a_baseline_there_is_nothing_to_compare_with(tiny_rows, inputs, tmp_path):
    broken = broken_row("eager", tmp_path)
    with pytest.raises(EngineError, match=r"eager cannot be measured .*nowhere"):
        measure_rows([broken, tiny_rows[0]], inputs, pace=Pace(rounds=1))


def test_what_has_no_time_left_after_the_first_round_is_left_out_but_for_two(tiny_rows, inputs):
    third = replace(tiny_rows[0], key="third", name="third")
    measurement = measure_rows([*tiny_rows[:2], third], inputs, pace=Pace(rounds=9, seconds=0.0))
    assert len(measurement.rows) == 2
    assert measurement.rows[0].row == tiny_rows[0]
    assert [len(found.seconds) for found in measurement.rows] == [3, 3]
    assert "too long for --quick" in measurement.left_out[0].reason


DRAWS = np.random.default_rng(0)


@pytest.fixture
def tiny(tiny_bundle, tiny_model, tmp_path):
    """A row of the tiny bundle, its inputs' file, and its pictures."""
    images = DRAWS.integers(0, 256, (3, 32, 32, 3), np.uint8)
    style = DRAWS.integers(-2, 3, (1, 8)).astype(np.float32)
    path = tmp_path / "inputs.npz"
    Inputs(images, style).save(path)
    ours = row(
        "ours-torch-plain-fp32", engine="torch", source=tiny_bundle, size=(32, 32),
        variant="generator/plain-fp32.onnx", **ON_GPU,
    )  # fmt: skip
    return ours, path, tiny_model.translation(images, style)


def test_throughput_is_measured_in_a_process_of_its_own_batch_after_batch(tiny):
    ours, inputs, expected = tiny
    figures = list(measure_throughput(ours, inputs, (1, 5), expected))
    assert [figure.batch for figure in figures] == [1, 5]
    assert all(figure.reason is None and figure.images_per_second > 0 for figure in figures)


def test_a_row_that_does_not_answer_in_time_is_told_with_the_time(tiny):
    ours, inputs, expected = tiny
    hurried = replace(
        ours, setting=replace(ours.setting, method=replace(SHORT, answer_s=0.01))
    )  # a process takes longer to start
    [figure] = measure_throughput(hurried, inputs, (1,), expected)
    assert figure.reason == "it did not answer within 0.01 s"


def test_rows_that_compile_for_every_batch_come_last():
    forms = ("eager", "compiled", "graphed")
    rows = [measured_on_gpu(f"eager-{form}", 1.0, 1.0, form=form) for form in forms]
    assert [row.form for row in compiled_last(rows)] == ["eager", "graphed", "compiled"]


def test_a_batch_whose_pictures_are_wrong_is_no_result(tiny):
    ours, inputs, expected = tiny
    [figure] = measure_throughput(ours, inputs, (2,), 255 - expected)
    assert figure.images_per_second is None
    assert "grey levels" in figure.reason


def test_a_batch_that_fails_ends_the_row_with_its_reason(tiny, tmp_path):
    ours, _, expected = tiny
    broken = tmp_path / "broken.npz"
    Inputs(np.zeros((3, 32, 32, 4), np.uint8), np.zeros((1, 8), np.float32)).save(broken)
    [figure] = measure_throughput(ours, broken, (1, 2), expected)
    assert (figure.batch, figure.images_per_second) == (1, None)
    assert "torch failed in" in figure.reason
