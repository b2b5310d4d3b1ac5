"""The parts that need no GPU: what is counted, the kernel's bars, what stays of an interrupted run, and the error
without a GPU. The CPU stands in for one where something is timed."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from starcast.benchmarks.bench.parts import DeviceClock
from starcast.benchmarks.studies import adain_kernel, adain_timing
from starcast.benchmarks.studies.adain_figures import (
    AS_IT_COMES,
    FORMATS,
    PLANES,
    SIZES,
    Planes,
    Row,
    Step,
    as_json,
    bars,
    from_json,
    line,
)
from starcast.benchmarks.studies.adain_kernel import main
from starcast.benchmarks.studies.adain_timing import (
    interleave,
    measure_planes,
    measure_step,
    norms,
    time_in_turn,
    time_norm,
)
from starcast.kernels.tiling import tiling_for
from starcast.options import replace_options
from starcast.runtime.nvidia.driver import Gpu
from starcast.train.adain import adain_leaky_relu
from starcast.train.families.stargan_v2.layers import AdaIN, AffineNorm
from starcast.train.families.stargan_v2.networks import StarGANv2Config, empty_networks

LARGEST = Planes(8, 64, 256, "channels last")
SMALL = Planes(2, 4, 8, "channels last")
STEP = Step({"reference": 500.0, "triton": 400.0}, {"reference": 30.0, "triton": 20.0})
BARS = (
    "at least 2.5 times eager, at every size",
    "at least as fast as torch.compile, at every size",
    "70 % of the copy bandwidth at 64x256x256",
    "as near to float64 as eager, at every size",
    "a faster training step",
)
CARD = Gpu("Some Card", (9, 0), "13.0")


def row(planes: Planes = LARGEST, **microseconds: float) -> Row:
    times = {"copy": 67.0, "eager": 300.0, "compiled": 110.0, "triton": 90.0, **microseconds}
    return Row(planes, times, dict.fromkeys(("eager", "compiled", "triton"), 1e-3))


def row_without(way: str, planes: Planes = LARGEST) -> Row:
    """Of a way that failed."""
    times, errors = dict(row().microseconds), dict(row().errors)
    del times[way], errors[way]
    return Row(planes, times, errors, {way: "RuntimeError: no"})


def whole_table(other: Row | None = None) -> list[Row]:
    """All sizes at all batches in all formats, one of them with other figures."""
    return [other if other is not None and other.planes == planes else row(planes) for planes in PLANES]


def test_planes_are_counted_as_read_once_and_written_once():
    """8 x 64 x 256 x 256 half numbers are 67,108,864 bytes; twice that in 90 us is 1491 GB/s."""
    assert LARGEST.bytes == 67_108_864
    figures = as_json(row())
    assert figures["ways"]["triton"] == {"microseconds": 90.0, "gb_per_s": 1491.3, "error": 1e-3}
    assert figures["times_faster_than_eager"] == 3.333
    assert figures["times_faster_than_compiled"] == 1.222
    assert figures["of_copy_bandwidth"] == 0.744


def test_a_line_tells_the_size_the_times_and_the_part_of_a_copy():
    said = line(row())
    for word in (
        "8 x  64 x 256²",
        "channels last",
        "eager    300.0 us",
        "triton     90.0 us",
        "1491 GB/s (74% of a copy)",
    ):
        assert word in said


def test_a_row_that_was_written_is_read_back():
    for given in (row(), row_without("compiled")):
        assert from_json(json.loads(json.dumps(as_json(given)))) == given


SMALLEST = Planes(8, 512, 16, "linear")
ONE_OF_BATCH_1 = Planes(1, 64, 256, "linear")


@pytest.mark.parametrize(
    ("other", "step", "missed"),
    [
        (row(), STEP, []),
        (row(SMALLEST, triton=130.0, eager=400.0), STEP, [BARS[1]]),
        (row(SMALLEST, eager=220.0), STEP, [BARS[0]]),
        (row(**{AS_IT_COMES: 220.0}), STEP, [BARS[0]]),
        (row(triton=100.0), STEP, [BARS[2]]),
        (row(SMALLEST, copy=30.0), STEP, []),
        (replace(row(SMALLEST), errors={"eager": 1e-3, "triton": 2e-3}), STEP, [BARS[3]]),
        (row(), Step({"reference": 400.0, "triton": 401.0}), [BARS[4]]),
        (row(ONE_OF_BATCH_1, triton=200.0), STEP, []),
        (replace(row(ONE_OF_BATCH_1), errors={"eager": 1e-3, "triton": 2e-3}), STEP, [BARS[3]]),
    ],
    ids=[
        "all are reached",
        "slower than compiled",
        "too near to eager",
        "too near to eager without a conversion",
        "too far from a copy",
        "only the largest is held against a copy",
        "less exact than eager",
        "slower step",
        "batch 1 may be slow",
        "batch 1 has to be right",
    ],
)
def test_the_bars_are_those_that_were_set(other, step, missed):
    found = bars(whole_table(other), step)
    assert tuple(found) == BARS
    assert found == {bar: bar not in missed for bar in BARS}


@pytest.mark.parametrize("missing", [SMALLEST, replace(LARGEST, format="linear")])
def test_no_bar_of_the_kernel_is_judged_while_a_size_of_batch_8_is_missing(missing):
    rows = [found for found in whole_table() if found.planes != missing]
    assert list(bars(rows, STEP).values()) == [None, None, None, None, True]


def test_nothing_is_judged_where_nothing_was_measured():
    assert bars([], Step()) == dict.fromkeys(BARS)


def test_the_bars_of_speed_wait_for_batch_8_alone_and_that_of_exactness_for_all():
    rows = [found for found in whole_table() if found.planes.batch == 8]
    assert list(bars(rows, STEP).values()) == [True, True, True, None, True]


@pytest.mark.parametrize(
    ("way", "unknown"), [("compiled", [BARS[1]]), ("triton", list(BARS[:4])), ("eager", [BARS[0], BARS[3]])]
)
def test_a_bar_is_not_judged_where_a_way_that_it_is_about_failed(way, unknown):
    found = bars(whole_table(row_without(way)), STEP)
    assert [bar for bar, reached in found.items() if reached is None] == unknown


@pytest.mark.parametrize("lacking", ["reference", "triton"])
def test_a_step_of_one_way_alone_is_not_judged(lacking):
    times = {name: time for name, time in STEP.milliseconds.items() if name != lacking}
    step = Step(times, failures={lacking: "OutOfMemoryError: too little"})
    assert bars(whole_table(), step)["a faster training step"] is None


def taking(value: float, order: list[str], name: str):
    def run() -> float:
        order.append(name)
        return value

    return run


def test_ways_take_turns_in_going_first_and_get_their_median():
    order, values = [], {"a": iter([3.0, 1.0, 2.0, 9.0]), "b": iter([5.0, 7.0, 6.0, 5.0])}

    def run(name: str):
        def go() -> float:
            order.append(name)
            return next(values[name])

        return go

    assert interleave({"a": run("a"), "b": run("b")}, 4, warm_up_s=0.0) == {"a": 2.5, "b": 5.5}
    assert "".join(order) == "abbaabba"


def test_all_ways_run_for_a_while_before_the_first_round(monkeypatch):
    order, seconds = [], iter([10.0, 10.2, 10.4, 10.6])
    monkeypatch.setattr("starcast.benchmarks.studies.adain_timing.time.monotonic", lambda: next(seconds))
    interleave({"a": taking(1.0, order, "a"), "b": taking(1.0, order, "b")}, 1, warm_up_s=0.5)
    assert "".join(order) == "abab" + "ab"


def test_a_way_that_cannot_be_made_leaves_the_others_their_times():
    def refused():
        raise NotImplementedError("no\nsuch operator")

    found = time_in_turn({"a": lambda: taking(1.0, [], "a"), "b": refused}, 3, warm_up_s=0.0)
    assert found == ({"a": 1.0}, {"b": "NotImplementedError: no such operator"})


def test_a_fault_on_the_card_is_the_reason_of_all_that_ran_there():
    def refused():
        raise NotImplementedError("no such operator")

    def faulty() -> float:
        raise RuntimeError("illegal address")

    makers = {"a": lambda: taking(1.0, [], "a"), "b": lambda: faulty, "c": refused}
    fault = "RuntimeError: illegal address"
    assert time_in_turn(makers, 3, warm_up_s=0.0) == (
        {}, {"a": fault, "b": fault, "c": "NotImplementedError: no such operator"},
    )  # fmt: skip


def test_where_no_way_can_be_made_there_are_only_reasons():
    def refused():
        raise MemoryError

    assert time_in_turn({"a": refused}, 3, warm_up_s=0.5) == ({}, {"a": "MemoryError:"})


def four_calls(call) -> float:
    """In the place of Triton's timer, which needs a GPU."""
    start = time.perf_counter()
    for _ in range(4):
        call()
    return (time.perf_counter() - start) / 4


@pytest.fixture
def _short(monkeypatch):
    for name, value in {"FOOTPRINT": 2**12, "ROUNDS": 2, "WARM_UP_S": 0.0}.items():
        monkeypatch.setattr(adain_timing, name, value)
    monkeypatch.setattr(adain_timing, "bench_call", four_calls)


@pytest.mark.usefixtures("_short")
def test_a_row_has_every_ways_time_and_error_and_the_reason_of_those_that_fail(monkeypatch):
    def refused(*_):
        raise RuntimeError("no card")

    def wrong(*given):
        return adain_leaky_relu(*given) + 1

    monkeypatch.setattr(adain_timing, "norms", lambda _: {"eager": adain_leaky_relu, "wrong": wrong, "triton": refused})
    found = measure_planes(SMALL, "cpu")
    assert found.failures == {"triton": "RuntimeError: no card"}
    assert found.microseconds.keys() == {"copy", "eager", "wrong"}
    assert all(time > 0 for time in found.microseconds.values())
    assert found.errors == pytest.approx({"eager": 0.0, "wrong": 1.0}, abs=0.01)


@pytest.mark.usefixtures("_short")
def test_as_many_outputs_as_inputs_are_kept_so_that_no_call_writes_over_the_last():
    """Of 4 MB each: what is given back then is what is taken next."""
    places = []

    def norm(x, scale, shift):
        y = x + 1
        places.append(y.data_ptr())
        return y

    inputs = [torch.zeros(2**20) for _ in range(3)]
    time_norm(norm, inputs, (torch.ones(1), torch.ones(1)))()
    assert len(set(places[-3:])) == 3


@pytest.mark.parametrize("format", FORMATS)
def test_every_way_that_is_compared_gives_planes_in_the_format_that_it_got(format, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda norm, **_: norm)
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=FORMATS[format])
    style = torch.rand(2, 4), torch.rand(2, 4)
    found = norms(format)
    for name in ("eager", "compiled"):
        assert found[name](x, *style).is_contiguous(memory_format=FORMATS[format])
    assert (AS_IT_COMES in found) == (format == "channels last")


def test_torchs_operators_give_a_contiguous_result_for_planes_that_are_channels_last():
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=torch.channels_last)
    assert norms("channels last")[AS_IT_COMES](x, torch.rand(2, 4), torch.rand(2, 4)).is_contiguous()


def test_a_step_that_fails_with_the_kernel_is_timed_without_it(monkeypatch):
    small = replace_options(
        adain_timing.OPTIONS, image_size=32, style_dim=8, latent_dim=4, mapping_width=8, channel_base=128,
        max_channels=8, batch_size=3,
    )  # fmt: skip
    for name, value in {"OPTIONS": small, "STEPS": 1, "WARM_UP_S": 0.0}.items():
        monkeypatch.setattr(adain_timing, name, value)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    found = measure_step(DeviceClock("cpu"))
    assert found.milliseconds.keys() == found.peak_gib.keys() == {"reference"}
    assert found.peak_gib["reference"] == 3.0
    assert found.failures.keys() == {"triton"}
    assert not found.whole


def test_the_sizes_are_those_of_every_norm_of_afhqs_generator():
    """A norm's channels stand in the network; its side is followed block by block, 256 at the start."""
    generator = empty_networks(StarGANv2Config(image_size=256, domains=3), training=False).generator
    found, side = set(), 256
    for block in generator.encode:
        found.add((block.norm1.num_features, side))
        side //= 1 if block.pool.__class__.__name__ == "Identity" else 2
        found.add((block.norm2.num_features, side))
    for block in generator.decode:
        found.add((block.norm1.fc.out_features // 2, side))
        side *= 1 if block.upsample.__class__.__name__ == "Identity" else 2
        found.add((block.norm2.fc.out_features // 2, side))
    found.add((generator.to_rgb[0].num_features, side))
    assert set(SIZES) == found
    assert sum(isinstance(module, AdaIN | AffineNorm) for module in generator.modules()) == 25


def test_both_ways_of_launching_are_timed():
    slices = {
        tiling_for(
            planes.batch, planes.channels, planes.side**2, item_bytes=2, channels_last=planes.format == "channels last"
        ).slices
        > 1
        for planes in PLANES
    }
    assert slices == {False, True}


class Bench:
    """The command on a card that is invented: what it measured, in order, and what it said."""

    def __init__(self, monkeypatch, target):
        self.target, self.asked, self.cut_after, self.step = target, [], None, STEP
        self.failing: dict[Planes, str] = {}
        monkeypatch.setattr(adain_kernel, "current_gpu", lambda: CARD)
        monkeypatch.setattr(adain_kernel, "gpu_state", lambda: None)
        # the checkout's own may change meanwhile
        code = {"commit": "0123456789ab", "sources": "fedcba9876543210", "versions": {"torch": "2.11.0"}}
        monkeypatch.setattr(adain_kernel, "provenance", lambda **_: code)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(adain_kernel, "measure_planes", self._measured)
        monkeypatch.setattr(adain_kernel, "measure_step", self._measure_step)

    def run(self, *options: str):
        self.asked = []
        return CliRunner().invoke(main, ["--json", str(self.target), *options])

    @property
    def written(self):
        return json.loads(self.target.read_text(encoding="utf-8"))

    def _measured(self, planes):
        if len(self.asked) == self.cut_after:
            raise KeyboardInterrupt
        self.asked.append(planes)
        return row_without(self.failing[planes], planes) if planes in self.failing else row(planes)

    def _measure_step(self, clock):
        self.asked.append("step")
        return self.step


@pytest.fixture
def bench(monkeypatch, tmp_path):
    return Bench(monkeypatch, tmp_path / "figures.json")


def test_the_step_comes_first_and_then_what_bars_are_set_for(bench):
    done = bench.run()
    assert done.exit_code == 0
    assert bench.asked == ["step", *PLANES]
    assert [planes.batch for planes in PLANES] == [8] * 16 + [1] * 16
    assert [from_json(found) for found in bench.written["rows"]] == [row(planes) for planes in PLANES]
    assert Step(**bench.written["training_step"]) == STEP
    assert done.output.splitlines()[-5:] == [f"reached      {bar}" for bar in BARS]


@pytest.mark.parametrize(("only", "asked"), [("norms", list(PLANES)), ("step", ["step"])])
def test_one_half_is_measured_alone_and_the_other_stays(bench, only, asked):
    bench.run("--only", only)
    assert bench.asked == asked
    bench.run()
    assert {*bench.asked} == {"step", *PLANES} - {*asked}
    assert len(bench.written["rows"]) == len(PLANES)
    assert Step(**bench.written["training_step"]) == STEP


def test_a_run_that_was_cut_off_says_what_is_not_measured_and_goes_on_there(bench):
    bench.cut_after = 11
    assert bench.run().exit_code != 0
    assert bench.asked == ["step", *PLANES[:10]]
    assert bench.written["bars"] == {**dict.fromkeys(BARS), "a faster training step": True}
    bench.cut_after = None
    assert bench.run().exit_code == 0
    assert bench.asked == list(PLANES[10:])
    assert len(bench.written["rows"]) == len(PLANES)
    assert bench.run("--only", "norms").exit_code == 0
    assert bench.asked == []


def test_what_failed_is_measured_again_after_all_that_was_not_yet_tried(bench):
    bench.failing, bench.cut_after = {PLANES[1]: "compiled"}, 4
    bench.step = Step({"reference": 500.0}, {"reference": 30.0}, {"triton": "RuntimeError: no"})
    bench.run()
    bench.failing, bench.cut_after, bench.step = {}, None, STEP
    bench.run()
    assert bench.asked == ["step", *PLANES[3:], PLANES[1]]
    assert all(bench.written["bars"].values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sources", "another"),
        ("versions", {}),
        ("gpu", {"name": "Some Card", "compute_capability": [9, 0], "driver": "12.0"}),
        ("method", {}),
    ],
)
def test_figures_of_another_origin_are_not_kept(bench, name, value):
    bench.run()
    bench.target.write_text(json.dumps({**bench.written, name: value}), encoding="utf-8")
    done = bench.run()
    assert bench.asked == ["step", *PLANES]
    assert f"{bench.target} differs in {name}: measuring everything again\n" in done.output
    assert bench.written[name] != value


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}"])
def test_a_file_of_another_kind_is_left_as_it_is(bench, text):
    bench.target.write_text(text, encoding="utf-8")
    done = bench.run()
    assert done.exit_code == 1
    assert done.output == f"Error: {bench.target} is not a record of this benchmark: give another name\n"
    assert bench.target.read_text(encoding="utf-8") == text


def test_figures_of_another_commit_with_the_same_code_are_kept(bench):
    bench.run()
    bench.target.write_text(json.dumps({**bench.written, "commit": "another"}), encoding="utf-8")
    bench.run()
    assert bench.asked == []


def test_a_machine_without_a_card_is_told_so_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(adain_kernel, "current_gpu", lambda: None)
    monkeypatch.setattr(adain_kernel, "why_no_gpu", lambda: "no driver")
    done = CliRunner().invoke(main, ["--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 2
    assert done.output == (
        "Error: there is no NVIDIA GPU to time the kernel on (no driver): run it on a machine with one\n"
    )
    assert not (tmp_path / "figures.json").exists()
