"""The process that decodes: `python -m starcast.runtime.serve.untrusted.worker FOLDER MAX_PIXELS MEMORY`.

For each line on standard input it decodes the file FOLDER/image, and answers on standard output:

    b"I", height uint32, width uint32, then RGB     or     b"E", length uint32, then the error in UTF-8

It ends with its input. A hostile image may end it sooner, or make it slow; whoever asked sees to that.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

SIZE, LENGTH = struct.Struct("<II"), struct.Struct("<I")
FILE, NAME = "image", "the image"


def main(folder: str, max_pixels: str, memory: str) -> None:
    """Decode what is asked for."""
    _limit_memory(int(memory))
    from starcast.errors import ImageError
    from starcast.images.read import read_image

    path, out = Path(folder) / FILE, sys.stdout.buffer
    for _ in sys.stdin.buffer:
        try:
            image = read_image(path, max_pixels=int(max_pixels))
            height, width = image.shape[:2]
            out.write(b"I" + SIZE.pack(height, width))
            out.write(image.tobytes())
        except (ImageError, MemoryError) as error:
            sentence = str(error).replace(os.fspath(path), NAME) or f"{NAME} needs too much memory: send a smaller one"
            text = sentence.encode()
            out.write(b"E" + LENGTH.pack(len(text)) + text)
        out.flush()


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
