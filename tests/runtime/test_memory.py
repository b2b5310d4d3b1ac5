"""Peak memory stays flat over a thousand images. In a process of its own, whose peak nothing else has raised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from starcast.images.write import write_image
from starcast.runtime.engines.registry import ENGINES

GROWTH = 8  # MB; a thousand sources, or as many translations, are 55 MB
# translates 200 images, then 1,000, and prints the peak in MB after each
TRANSLATE = """
import resource, sys
from pathlib import Path
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions

bundle, images, output, backend = sys.argv[1:]
sources = sorted(Path(images).iterdir())
for count in (200, 1000):
    options = TranslateOptions(
        output=Path(output) / str(count), domain="dog", fit="native", backend=backend, threads=1, format="jpg"
    )
    report = translate_all(Path(bundle), sources[:count], options, progress=print)
    assert report.done == count, report
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units elsewhere")
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_thousand_images_need_no_more_memory_than_two_hundred(tmp_path, tiny_bundle, backend):
    reason = ENGINES[backend].absent()
    if reason is not None:
        pytest.skip(f"{backend} is {reason}")
    draws = np.random.default_rng(0)
    for number in range(1000):
        shape = (128 + 4 * (number % 5), 144, 3)  # five sizes in turn
        write_image(tmp_path / f"in/{number:04}.jpg", draws.integers(0, 256, shape, np.uint8), quality=60)
    peaks = _peaks(tiny_bundle, tmp_path / "in", tmp_path / "out", backend)
    assert peaks[1] - peaks[0] < GROWTH, peaks


def _peaks(*arguments: object) -> list[float]:
    command = [sys.executable, "-c", TRANSLATE, *map(str, arguments)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path.cwd()).stdout.splitlines()
    return [float(line) for line in lines]
