"""Where a run computes, and what a machine refuses, in sentences."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed, ShortenTraceback

from starcast.errors import OptionError, TrainingError
from starcast.train.device import choose_device, describe_machine, explain_failures, why_no_gpu


@pytest.mark.parametrize(("cuda", "words"), [(None, "whl/cu130"), ("13.0", "built for CUDA 13.0, finds no GPU")])
def test_without_a_gpu_the_reason_names_torch_or_the_driver(monkeypatch, cuda, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert choose_device("auto").type == "cpu"
    assert words in why_no_gpu()
    with pytest.raises(OptionError, match="--device cuda needs an NVIDIA GPU, but .*: use --device cpu"):
        choose_device("cuda")


def test_what_computes_is_described():
    assert describe_machine(torch.device("cpu"), False, "reference") == "on the CPU in fp32, with norms by reference"


class TritonMissing(ShortenTraceback):
    pass


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "too little memory for this step"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), "too little memory"),
        (torch.AcceleratorError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA"),
         r"the GPU failed \(CUDA error: no kernel image\): see nvidia-smi"),
        (BackendCompilerFailed(lambda: None, ValueError("no compiler"), first_useful_frame=None),
         "cannot compile the networks here .* --compile"),
        (TritonMissing("Cannot find a working triton installation", first_useful_frame=None),
         r"cannot compile the networks here \(Cannot find a working triton installation\): leave out --compile"),
    ],
)  # fmt: skip
def test_what_a_machine_refuses_is_one_sentence_that_says_what_to_change(error, sentence):
    with pytest.raises(TrainingError, match=sentence) as caught, explain_failures():
        raise error
    assert "\n" not in str(caught.value)


def test_another_mistake_is_not_explained_away():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), explain_failures():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
