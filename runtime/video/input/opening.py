"""Open a video file: only files, only with demuxers for video and sound, and nothing that a file refers to.

Playlists and URLs are not followed: nothing on the network is touched, whatever a file says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from starcast.absence import absence_of
from starcast.errors import OptionError, VideoError, printable, reason_of
from starcast.images import formats
from starcast.runtime.video.input.joined_streams import Splice, SplicedFile

_DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,apng,mxf,gxf,nut,ivf,obu,h261,h263,h264,hevc,"
    "vvc,m4v,mjpeg,mpjpeg,dv,vc1,rm,rl2,wtv,yuv4mpegpipe,swf,nsv,smk,bink,roq,cavsvideo,dirac,dnxhd,rawvideo,film_cpk,"
    "flic,ty,pva,nuv,dhav,lmlm4,av1,avs2,avs3,evc,usm,viv,vivo,amv,iv8,filmstrip,cine,ser,r3d,gdv,4xm,aac,ac3,adts,"
    "aiff,amr,flac,mp3,wav,w64,caf,ape,dts,eac3"
)
_JPEG_FILMS = (".mjpeg", ".mjpg")  # JPEGs one after another
_PROBE_FURTHER = {"analyzeduration": "600000000", "probesize": "500000000"}  # µs and bytes; default: 5 s and 5 MB


def open_video(path: Path, max_pixels: int, splice: Splice | None = None) -> InputContainer:
    """The open file, with nothing decoded yet. `splice`: how it was joined, from `find_splice`.

    Raises OptionError if `path` is not a file, VideoError if it is not a video. The message is one sentence that names
    the file.
    """
    name = printable(path)
    if not path.exists():
        raise OptionError(f"{name} {absence_of(path)}")
    if path.is_dir():
        raise OptionError(f"{name} is a folder: give a video file")
    if not path.is_file():
        raise OptionError(f"{name} is a pipe or a device, not a file: copy the video into a file first")
    try:
        with path.open("rb") as file:
            head = file.read(formats.HEAD_BYTES)
    except OSError as error:
        raise VideoError(f"{name} cannot be read ({reason_of(error)}): check its rights") from error
    if not head:
        raise VideoError(f"{name} is empty (0 bytes): copy it again")
    if formats.has_signature(head) and not head.startswith(b"GIF8") and path.suffix.lower() not in _JPEG_FILMS:
        raise VideoError(
            f"{name} is a still image: give it to `starcast translate` or `starcast morph`, or align it with an "
            "image as output"
        )
    container = _open(path, name, head, max_pixels, splice, {})
    if _is_vague(container):
        container.close()
        container = _open(path, name, head, max_pixels, splice, _PROBE_FURTHER)
    return container


def _open(
    path: Path, name: str, head: bytes, max_pixels: int, splice: Splice | None, probing: dict[str, str]
) -> InputContainer:
    version = int(av.__version__.partition(".")[0])
    settings: dict[str, Any] = {}
    if path.suffix.lower() in _JPEG_FILMS and head.startswith(b"\xff\xd8\xff"):
        settings["format"] = "mjpeg"  # FFmpeg takes it for a single image
    if version < 19:
        settings["metadata_errors"] = "replace"
    if version >= 18:  # before 18, options for decoders crash if streams appear while the file is probed
        settings["options"] = {"max_pixels": str(max_pixels)}
    resolved = path.resolve()  # an absolute path cannot be mistaken for a URL
    try:
        container: InputContainer = av.open(
            str(resolved) if splice is None else SplicedFile(resolved, splice),
            container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file", **probing},
            **settings,
        )
    except av.FFmpegError as error:
        foreign = formats.identify_foreign(head, path.suffix)
        if foreign is None and formats.looks_like_text(head):
            raise VideoError(f"{name} is a text file, not a video: give a video file") from error
        if foreign is not None and not foreign.is_video:
            raise VideoError(f"{name} is {foreign.name}, not a video: give a video file") from error
        raise VideoError(
            f"{name} is not a video, or it is damaged at the start ({reason_of(error)}): give a whole video file"
        ) from error
    return container


def _is_vague(container: InputContainer) -> bool:
    """Whether some stream begins so late that FFmpeg has not seen what it is."""
    sound = [stream.codec_context for stream in container.streams.audio]
    return any(context is not None and not context.sample_rate for context in sound)
