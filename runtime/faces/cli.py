"""The command `align`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from
from starcast.path_types import SourcePath, Standard
from starcast.runtime.cli import run
from starcast.runtime.encoding import is_video_path
from starcast.runtime.faces.options import AlignOptions


@click.command("align")
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True, type=SourcePath())
@options_from(AlignOptions)
def align(sources: tuple[Path | Standard, ...], **values: Any) -> int:
    """Cut faces out of images or a video, upright in a square, as face models expect them.

    A SOURCE is an image, a folder (searched with its subfolders), a pattern in quotes ('photos/*.jpg'), a list (.txt,
    one path per line, relative to the list), or - for standard input. OUT keeps the layout of the folders. The largest
    face of each image is cut out. Beyond the image's edge, the square shows the image mirrored and blurred. If OUT is a
    video, give one video as SOURCE; its sound and timing are kept.
    Run the command again to resume: finished images are skipped, an interrupted video resumes.
    OUT/starcast.json records how the images were made.

    \b
    Examples: starcast align photos/ -o aligned/
              starcast align photos/ -o aligned/ --landmarks wing.ckpt --mean celeba_lm_mean.npz
              starcast align me.jpg -o me-512.png --landmarks my-face-model --size 512
              starcast align clip.mp4 -o aligned.mp4
    """
    output = values["output"]
    if len(sources) == 1 and isinstance(sources[0], Path) and isinstance(output, Path) and is_video_path(output):
        from starcast.runtime.video.align import align_video

        return run(align_video, sources[0], output, AlignOptions(**values))
    from starcast.runtime.faces.align import align_all

    if Standard.STREAM in (*sources, values["output"]):
        from starcast.runtime.folder.standard_streams import run_piped

        return run(run_piped, align_all, sources, values, AlignOptions, to_stderr=True)
    return run(align_all, sources, AlignOptions(**values))
