"""A run on a GPU: what the CPU's tests cannot show. No GPU has run these yet."""

from __future__ import annotations

import pytest
import torch
from same_bits import assert_same_bits

from starcast.options import replace_options
from starcast.train.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
    pytest.mark.filterwarnings("default"),  # of algorithms that are not deterministic, and of forks beside threads
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("adain", ["reference", "triton"])
def test_a_stopped_run_goes_on_to_the_bits_of_one_that_was_not(images, small, tmp_path, precision, adain):
    four = replace_options(
        small, device="cuda", precision=precision, adain=adain, deterministic=True, workers=2, sample_every=2, steps=4
    )
    said: list[str] = []
    whole = train(images, tmp_path / "whole", four, bar=False, progress=said.append)
    assert any(line.startswith("Training on ") and adain in line for line in said)
    two = replace_options(four, steps=2)
    train(images, tmp_path / "parts", two, bar=False, progress=said.append)
    resumed = train(images, tmp_path / "parts", four, resume=True, bar=False, progress=said.append)
    assert_same_bits(whole, resumed)


def test_the_kernel_and_the_reference_take_a_step_to_the_same_place(images, small, tmp_path):
    losses = []
    for adain in ("reference", "triton"):
        options = replace_options(small, device="cuda", precision="fp32", adain=adain, steps=1, log_every=1)
        train(images, tmp_path / adain, options, bar=False, progress=lambda line: None)
        losses.append((tmp_path / adain / "losses.jsonl").read_text())
    first, second = (dict_of(text) for text in losses)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name] == pytest.approx(value, rel=0.02, abs=1e-3), name  # TF32 in the convolutions


def dict_of(text: str) -> dict[str, float]:
    import json

    return {name: value for name, value in json.loads(text.splitlines()[-1]).items() if isinstance(value, float)}
