"""AAC with a header in each packet (ADTS, in transport streams): whether its channels or its rate change midway.

Other containers store channels and rate once for a track. Copied into them, all sound after a change would be lost.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.stream import Stream

from starcast.runtime.video.input.joined_streams import find_splice
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.output.containers import codec_of

_IN_A_ROW = 3  # packets with another header; fewer are damage


def changes_midway(stream: Stream) -> bool:
    """Whether the configuration of a stream of AAC changes. Reads the file's packets from start to end, but only those
    of files that could hold such a stream."""
    if codec_of(stream) != "aac" or stream.codec_context.extradata:
        return False
    path = Path(stream.container.name)
    first: bytes | None = None
    others = 0
    try:
        with open_video(path, MAX_FRAME_PIXELS, find_splice(path)) as container:
            for packet in container.demux(container.streams[stream.index]):
                header = _configuration(packet)
                if header is None:
                    continue
                first = first or header
                others = others + 1 if header != first else 0
                if others >= _IN_A_ROW:
                    return True
    except av.FFmpegError:  # damaged: what follows cannot be read in any way
        pass
    return False


def _configuration(packet: av.Packet[Stream]) -> bytes | None:
    """Profile, rate and channels in an ADTS header (ISO/IEC 13818-7, 6.2); None without one, or without channels."""
    head = memoryview(packet)[:4] if packet.size >= 7 else b""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    configuration = bytes((head[2] & 0xFD, head[3] & 0xC0))  # without the private bit
    return configuration if configuration[0] & 1 or configuration[1] else None
