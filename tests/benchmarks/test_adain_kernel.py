"""The parts that need no card: what is counted, what is asked of the kernel, and what is said where there is none."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from starcast.benchmarks import adain_kernel
from starcast.benchmarks.adain_kernel import BATCHES, FORMATS, SIZES, Row, as_json, bars, interleaved, line, main
from starcast.kernels.tiling import tiling_for
from starcast.train.networks.stargan_v2 import AdaIN, AffineNorm, StarGANv2Config, empty_networks

COPY = 2000.0  # GB/s
STEP = {"reference": 500.0, "triton": 400.0}


def row(channels: int = 64, side: int = 256, batch: int = 8, **microseconds: float) -> Row:
    times = {"eager": 300.0, "compiled": 110.0, "triton": 90.0, **microseconds}
    return Row(channels, side, batch, "channels last", times, dict.fromkeys(times, 1e-3))


def test_planes_are_counted_as_read_once_and_written_once():
    """8 x 64 x 256 x 256 half numbers are 67,108,864 bytes; twice that in 90 us is 1491 GB/s."""
    assert row().gigabytes == pytest.approx(0.134217728)
    assert row().gb_per_s("triton") == pytest.approx(1491.31, abs=0.01)
    figures = as_json(row(), COPY)
    assert figures["ways"]["triton"] == {
        "microseconds": 90.0, "gb_per_s": 1491.3, "of_copy_bandwidth": 0.746, "error": 1e-3
    }  # fmt: skip
    assert (figures["times_faster_than_eager"], figures["times_faster_than_compiled"]) == (3.33, 1.22)


def test_a_line_tells_the_size_the_times_and_the_part_of_a_copy():
    said = line(row(), COPY)
    for word in (
        "8 x  64 x 256²",
        "channels last",
        "eager    300.0 us",
        "triton     90.0 us",
        "1491 GB/s (75% of a copy)",
    ):
        assert word in said


@pytest.mark.parametrize(
    ("rows", "step", "missed"),
    [
        ([row()], STEP, None),
        ([row(), row(512, 16, triton=130.0, eager=400.0)], STEP, "at least as fast as torch.compile, at every size"),
        ([row(eager=220.0)], STEP, "at least 2.5 times eager, at every size"),
        ([row(triton=100.0)], STEP, "70 % of the copy bandwidth at 64x256x256"),
        ([row()], {"reference": 400.0, "triton": 401.0}, "a faster training step"),
        ([row(), row(batch=1, triton=200.0)], STEP, None),
    ],
    ids=[
        "all",
        "slower than compiled",
        "too near to eager",
        "too far from a copy",
        "slower step",
        "batch 1 has no bar",
    ],
)
def test_the_bars_are_those_that_were_set(rows, step, missed):
    assert [bar for bar, reached in bars(rows, step, COPY).items() if not reached] == ([missed] if missed else [])


def test_ways_take_turns_in_going_first_and_get_their_median():
    order, values = [], {"a": iter([3.0, 1.0, 2.0, 9.0]), "b": iter([5.0, 7.0, 6.0, 5.0])}

    def run(name: str):
        def go() -> float:
            order.append(name)
            return next(values[name])

        return go

    assert interleaved({"a": run("a"), "b": run("b")}, 4) == {"a": 2.5, "b": 5.5}
    assert "".join(order) == "abbaabba"


def test_the_sizes_are_those_of_every_norm_of_afhqs_generator():
    """A norm's channels stand in the network; its side is followed block by block, 256 at the start."""
    generator = empty_networks(StarGANv2Config(image_size=256, domains=3), discriminator=False).generator
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
        tiling_for(batch, channels, side**2, item_bytes=2, channels_last=format == "channels last").slices > 1
        for channels, side in SIZES
        for batch in BATCHES
        for format in FORMATS
    }
    assert slices == {False, True}


def test_a_machine_without_a_card_is_told_so_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(adain_kernel, "current_gpu", lambda: None)
    monkeypatch.setattr(adain_kernel, "why_no_gpu", lambda: "no driver")
    done = CliRunner().invoke(main, ["--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 2
    assert done.output == (
        "Error: there is no NVIDIA card to time the kernel on (no driver): run it on a machine with one\n"
    )
    assert not (tmp_path / "figures.json").exists()
