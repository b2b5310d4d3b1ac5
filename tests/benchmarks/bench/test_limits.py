"""The ceilings' arithmetic, on the CPU in a GPU's place."""

from __future__ import annotations

import pytest

from starcast.benchmarks.bench import limits as module
from starcast.benchmarks.bench.limits import Ceilings, least_ms, measure_ceilings_apart
from starcast.benchmarks.bench.parts import DeviceClock
from starcast.errors import EngineError

SOME = Ceilings({"fp32": 50.0, "fp16": 800.0}, copy_gb_per_s=2000.0, to_gpu_gb_per_s=50.0, from_gpu_gb_per_s=50.0)


def test_parts_are_of_the_precisions_own_ceiling_and_codes_are_held_against_fp16():
    assert SOME.of_matrix(25, "fp32") == pytest.approx(0.5)
    assert SOME.of_matrix(200, "fp16") == SOME.of_matrix(200, "int8") == SOME.of_matrix(200, "fp8") == 0.25
    assert SOME.of_matrix(1, "bf16") is None
    assert SOME.of_copy(500) == 0.25


def test_a_run_is_the_best_of_several_rows_of_runs(monkeypatch):
    class Clock:
        now = 0.0

        def mark(self):
            return self.now

        def between_ms(self, first, second):
            return second - first

        def wait(self):
            pass

    clock, calls = Clock(), []

    def run():
        calls.append(1)
        clock.now += 100 if len(calls) < 12 else 3  # cold at first

    assert least_ms(run, clock) == pytest.approx(3)


def test_a_copy_within_the_gpu_counts_twice_and_a_product_two_a_multiply_add(monkeypatch):
    monkeypatch.setattr(module, "least_ms", lambda run, clock: run() is None or 2.0)
    monkeypatch.setattr(module, "SIDES", {"cpu": (100,)})
    monkeypatch.setattr(module, "BYTES", {"cpu": 10**6})
    found = module.measure_ceilings("cpu")
    assert found.copy_gb_per_s == pytest.approx(2 * 10**6 / 2e-3 / 1e9)
    assert found.to_gpu_gb_per_s == found.from_gpu_gb_per_s == pytest.approx(0.5)
    assert set(found.matrix_tflop_per_s) == {"fp32", "tf32", "fp16", "bf16"}
    assert found.matrix_tflop_per_s["fp16"] == pytest.approx(2 * 100**3 / 2e-3 / 1e12)


def test_the_cpus_clock_stands_in_for_a_gpus():
    clock = DeviceClock("cpu")
    first = clock.mark()
    sum(range(10_000))
    second = clock.mark()
    clock.wait()
    assert clock.between_ms(first, second) > 0
    assert not clock.pinned((2, 3)).is_pinned()


@pytest.mark.slow
def test_they_are_measured_in_a_process_of_their_own_and_a_failure_is_a_sentence():
    found = measure_ceilings_apart("cpu")
    assert min(found.copy_gb_per_s, found.to_gpu_gb_per_s, *found.matrix_tflop_per_s.values()) > 0
    with pytest.raises(EngineError, match=r"ceilings cannot be measured \(.+\)"):
        measure_ceilings_apart("abacus")
