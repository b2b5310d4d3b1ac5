"""The command `live`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.absence import is_url, local_path
from starcast.click_options import GroupedCommand, StarcastOption, options_from
from starcast.flags import OUT_ALIASES, OUT_FLAGS
from starcast.path_types import LocalPath
from starcast.runtime.cli import run
from starcast.runtime.live.options import LiveOptions

HEADINGS = {
    "Source": ("camera", "camera_size", "fps", "repeat"),
    "Output": ("outputs", "overwrite", "statistics"),
    "Style": ("domain", "seed", "ref", "psi"),
    "Style of models steered by labels": ("set", "unset", "flip", "has", "labels"),
    "Frame": ("fit",),
    "Engine": ("backend", "precision", "threads", "memory", "remeasure"),
}


class _PathOrUrl(LocalPath):
    """A path or a URL, as text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_url(value) and local_path(value) is None:
            return str(value)
        return str(super().convert(value, param, ctx))


@click.command("live", cls=GroupedCommand, headings=HEADINGS)
@click.argument("bundle", type=LocalPath())
@click.argument("source", metavar="[SOURCE]", required=False, type=_PathOrUrl())
@click.option(
    *OUT_FLAGS, "outputs", cls=StarcastOption, aliases=OUT_ALIASES, metavar="OUT", type=_PathOrUrl(is_output=True),
    multiple=True,
    help="Output: window, a recording (.mkv, .mp4, .mov), or a URL to push to (rtsp, rtmp, rtmps, udp, srt). May be "
    "given several times. Default: window.",
)  # fmt: skip
@options_from(LiveOptions)
def live(bundle: Path, source: str | None, outputs: tuple[str, ...], **values: Any) -> int:
    """Translate a camera or a stream as it happens, in a window.

    A SOURCE is a URL (rtsp, rtmp, http, https, udp, srt) or a video file, which is translated at its own pace. Without
    one, a camera is used. The newest frame is always next, and older ones are dropped, so that the delay does not grow.
    A stream or a camera that vanishes is waited for. There is no sound.

    In the window, ? shows the keys, such as d for the next domain and s for the next seed. q or Ctrl-C ends.

    \b
    Examples: starcast live my-model --domain dog
              starcast live my-model rtsp://192.168.1.20/stream --domain dog --ref rex.jpg
              starcast live my-model clip.mp4 --repeat --domain dog -o window -o show.mkv
    """
    from starcast.runtime.live.run import translate_live

    return run(translate_live, bundle, source, outputs, LiveOptions(**values))
