from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from starcast.images.pillow import silence_libtiff


@pytest.mark.skipif(not silence_libtiff(), reason="this Pillow keeps its TIFF library inside")
def test_a_damaged_compressed_tiff_prints_nothing(tmp_path):
    path = tmp_path / "damaged.tif"
    Image.effect_noise((64, 64), 50).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    content[100:120] = b"\xff" * 20
    path.write_bytes(bytes(content))
    code = f"""
import pathlib
from starcast.errors import ImageError
from starcast.images.read import read_image
try:
    read_image(pathlib.Path({str(path)!r}))
except ImageError:
    print("refused")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "refused\n"
    assert result.stderr == ""
