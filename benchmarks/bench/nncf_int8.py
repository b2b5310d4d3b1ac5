"""Post-training quantisation by NNCF with its defaults, the peer of our int8.

python -m starcast.benchmarks.bench.nncf_int8 PLAIN.onnx CALIBRATION.npz OUT.xml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from starcast.benchmarks.bench.inputs import Inputs
from starcast.runtime.engines.openvino import engine


def quantise(graph: Path, calibration: Inputs, out: Path) -> None:
    """Write OUT.xml and OUT.bin: the ONNX frame graph in int8."""
    openvino = engine()
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # NNCF would send usage data to its maker
    import nncf

    items = [calibration.take(slice(number, number + 1)).feeds for number in range(len(calibration))]
    model: Any = openvino.Core().read_model(str(graph))
    quantised = nncf.quantize(model, nncf.Dataset(items), subset_size=len(items))
    openvino.save_model(quantised, str(out), compress_to_fp16=False)


if __name__ == "__main__":
    quantise(Path(sys.argv[1]), Inputs.load(Path(sys.argv[2])), Path(sys.argv[3]))
