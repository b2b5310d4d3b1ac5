"""The messages between a build and its child process: one request, then one JSON document per line."""

from __future__ import annotations

import msgspec

from starcast.runtime.nvidia.tensorrt.profiles import Profile


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An engine to build: by which flavour, from which graph, into which file.

    target: the generation to build for ahead of time. plugin: the graph has nodes for starcast's kernel. timings: a
    sealed file of kernel timings, read and updated.
    """

    flavour: str
    graph: str
    output: str
    inputs: dict[str, Profile]
    target: str | None = None
    plugin: bool = False
    timings: str | None = None


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The share of the build that is done, from 0 to 1."""

    done: float


class Built(msgspec.Struct, frozen=True, tag=True):
    """The engine's file is written."""

    seconds: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why there is no engine, as a clause."""

    reason: str


Answer = Progress | Built | Failed
