"""A session of a torch graph on the CPU: right, and no measure of speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from starcast.export.torch_engine.graph import TorchGraph, failure
from starcast.runtime.engines.base import Arrays, Session, closed_error


class CpuSession(Session):
    """One graph on the CPU."""

    def __init__(self, path: Path, graph: TorchGraph) -> None:
        self._path = path
        self._graph: TorchGraph | None = graph

    def run(self, feeds: Arrays) -> Any:
        if self._graph is None:
            raise closed_error(self._path)
        try:
            with torch.inference_mode():
                # a copy, as torch warns of arrays that cannot be written to
                inputs = {name: torch.tensor(value) for name, value in feeds.items()}
                return self._graph(inputs).numpy()
        except (RuntimeError, ValueError) as error:
            raise failure(self._path, error) from error

    def close(self) -> None:
        self._graph = None
