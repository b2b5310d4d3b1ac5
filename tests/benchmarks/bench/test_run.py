"""A whole bench on a GPU, with the CPU in its place, from the options to the record."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from click.testing import CliRunner
from stand_in_gpu import SHORT, gpu_result

from starcast.benchmarks.bench import report
from starcast.benchmarks.bench import run as module
from starcast.benchmarks.bench.gpu import NvidiaGpu
from starcast.benchmarks.bench.limits import measure_ceilings
from starcast.benchmarks.bench.run import choose_device
from starcast.benchmarks.bench.subject import open_subject
from starcast.benchmarks.cli import bench
from starcast.benchmarks.options import BenchOptions, SubjectOptions
from starcast.errors import OptionError
from starcast.train.families.stargan_v2.networks import StarGANv2Config

SMALL = StarGANv2Config(
    image_size=32, domains=2, style_dim=4, latent_dim=4, mapping_width=8, channel_base=128, max_channels=8
)


def test_without_a_gpu_a_gpu_is_refused_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(bench, ["--device", "cuda", str(tmp_path)])
    assert isinstance(result.exception, OptionError)
    assert result.exception.exit_status == 2
    assert "--device cuda needs an NVIDIA GPU" in str(result.exception)


def test_the_gpu_is_chosen_if_there_is_one_unless_the_cpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name).name for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").name == "cpu"


def test_a_gpus_table_record_and_chart_are_written(monkeypatch, tmp_path):
    class Opened:
        def __init__(self, bundle, options, device, progress, *, quick):
            assert device.name == "cuda"

        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "open_subject", Opened)
    file = tmp_path / "bench.json"

    def measured(*_: Any, keep: Any, **__: Any) -> Any:
        keep(gpu_result())
        assert '"bars"' in file.read_text()  # it is written as it goes
        return gpu_result()

    monkeypatch.setattr(module, "measure_subject", measured)
    result = CliRunner().invoke(bench, [str(tmp_path), "--device", "cuda", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "images/s at a batch of" in result.output
    assert '"of_copy_bandwidth"' in file.read_text()
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def bench_of_random_weights(tmp_path_factory):
    """The options of a bench on random weights, the folder where its bundle is kept, and what its export said."""
    options = BenchOptions(
        subject=SubjectOptions(config="afhq"), rows=("ours-torch-taps9-fp32", "ours-tensorrt-rtx*"), batches=("2",),
        rounds=1,
    )  # fmt: skip
    place, said = tmp_path_factory.mktemp("bench") / "kept", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starcast.benchmarks.bench.subject.original_config", lambda _: (SMALL, ("cat", "dog")))
        with open_subject(place, options.subject, NvidiaGpu(SHORT), said.append) as subject:
            assert subject.bundle.manifest.domains == ("cat", "dog")
            yield options, place, said, subject


@pytest.mark.slow
def test_random_networks_are_exported_once_and_kept_where_they_were_asked_for(bench_of_random_weights):
    options, place, said, first = bench_of_random_weights
    assert said
    said.clear()
    with open_subject(place, options.subject, NvidiaGpu(SHORT), said.append) as second:
        assert second.bundle.path == place
        assert second.bundle.sha256 == first.bundle.sha256
        assert second.checkpoint == first.checkpoint
        assert said == []


@pytest.mark.slow
def test_a_whole_bench_with_the_cpu_in_the_gpus_place(bench_of_random_weights, monkeypatch):
    options, _, _, subject = bench_of_random_weights
    kept: list[dict[str, Any]] = []
    # test_limits.py measures them in a process of their own
    monkeypatch.setattr("starcast.benchmarks.bench.gpu.measure_ceilings_apart", measure_ceilings)
    result = module.measure_subject(
        subject, options, NvidiaGpu(SHORT), keep=lambda so_far: kept.append(report.record(so_far))
    )
    record = report.record(result)
    # after each round and each batch there is a whole record of what was measured by then
    measured = [sum(bool(one["batches"]) for one in part["rows"]) for part in kept]
    assert measured == list(range(len(record["rows"]) + 1))
    by_name = {one["name"]: one for one in record["rows"]}
    assert record["rows"][0]["engine"] == "pytorch"
    assert any(name.startswith("starcast on torch") for name in by_name)
    for one in record["rows"]:
        assert one["ms_p50"] > 0
        assert one["batches"][0]["batch"] == 2
        assert one["batches"][0]["images_per_s"] > 0
    assert record["rows"][0]["of_matmul_ceiling"] > 0
    assert any("taps16" in out["name"] and out["reason"].startswith("not run:") for out in record["left_out"])
