"""Traced networks that several tests need: PyTorch's exporter takes seconds for the smallest network."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from starcast.export import trace


@contextmanager
def traces_shared_in(folder: Path) -> Iterator[None]:
    """Within the block, a network that was traced before is read from `folder`, which processes may share. It is known
    by all that decides its trace: classes, attributes, weights, and the shapes of the example."""
    folder.mkdir(exist_ok=True)
    trace_anew = trace._trace

    def once(
        network: nn.Module, example: tuple[Tensor, ...], named: Mapping[str, Tensor], shapes: Mapping[str, Any],
        output: str, name: str,
    ) -> ir.Model:  # fmt: skip
        network.eval().requires_grad_(False)
        key = _digest((network, example, dict(named), repr(shapes), output, name))
        if key is None:
            return trace_anew(network, example, named, shapes, output, name)
        file = folder / f"{key}.onnx"
        if not file.exists():
            partial = file.with_suffix(f".{os.getpid()}")
            ir.save(trace_anew(network, example, named, shapes, output, name), partial, format="protobuf")
            partial.replace(file)
        return ir.load(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_trace", once)
        yield


class _Pickler(pickle.Pickler):
    """Writes the values of tensors; torch itself would write where they lie in memory."""

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        content = value.detach().contiguous().view(-1).view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), value.stride(), hashlib.sha256(content).hexdigest()


def _digest(content: object) -> str | None:
    """A hash of what an object holds; None if it holds what cannot be written, such as a class of one function."""
    stream = io.BytesIO()
    try:
        _Pickler(stream).dump(content)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return hashlib.sha256(stream.getvalue()).hexdigest()
