"""A frame's side data, such as its display matrix or the peak of HDR.

PyAV's `frame.side_data` must not be used: it ties the frame to itself, so that each frame, with all its pixels, stays
in memory until Python's cycle collector happens to run. 100 films in a row grew by 31 % with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from av.frame import Frame
from av.sidedata.sidedata import SideDataContainer


def read_side_data(frame: Frame, *names: str) -> dict[str, bytes]:
    """The side data of these kinds (`av.sidedata.sidedata.Type`) that the frame has, by name. Raises ValueError if the
    frame has some of a kind that this PyAV does not know."""
    # this container refers to the frame, and the frame does not refer to it
    container: Iterable[Any] = SideDataContainer(frame)  # type: ignore[call-arg]  # its stub lacks it
    return {data.type.name: bytes(data) for data in container if data.type.name in names}
