"""Write an ONNX graph from its text form, with weights by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_graph_text(path: Path, text: str, **weights: NDArray[np.float32]) -> None:
    """Parse and check a model in ONNX's text form, add `weights` as initializers, and write it to `path`."""
    import onnx.parser  # here: most tests need no bundle, and some rooms' tests no onnx

    model = onnx.parser.parse_model(text)
    for name, weight in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
