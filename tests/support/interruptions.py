"""Films that are interrupted as if by Ctrl-C, after so many frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from starcast.runtime.video.output.sink import Sink

SEGMENT = 8  # frames, in the tests of interrupted films


def interrupt(frames: int, call: Callable[[], object]) -> None:
    """Run `call`, which ends by Ctrl-C when so many frames are encoded."""
    write = Sink.write
    count = itertools.count(1)

    def stop(self, item):
        write(self, item)
        if hasattr(item, "pixels") and next(count) == frames:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sink, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            call()
