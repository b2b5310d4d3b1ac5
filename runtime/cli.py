"""The runtime's commands: each parses its options, calls one function, prints, and sets the exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from starcast.click_options import options_from, out_option
from starcast.path_types import FileOutput, LocalPath, SourcePath, Standard, name_in
from starcast.runtime.memory import limit_memory
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.options import MorphOptions, TranslateOptions, VideoOptions

_FILM = "the video to write (.mp4, .m4v, .mov or .mkv), or a folder for an .mp4 named after the source."


@click.command("translate")
@click.argument("bundle", type=LocalPath())
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True, type=SourcePath())
@options_from(TranslateOptions)
def translate(bundle: Path, sources: tuple[Path | Standard, ...], **values: Any) -> int:
    """Translate images and folders of images.

    A SOURCE is an image, a folder (searched with its subfolders), a pattern in quotes ('photos/*.jpg'), a list (.txt,
    one path per line, relative to the list), or - for standard input. OUT keeps the layout of the folders. With several
    styles (--domain all, a folder of references) each style gets its own folder in OUT. Run the command again to
    resume: finished translations are skipped. OUT/starcast.json records how they were made.

    \b
    Examples: starcast translate my-model photos/ -o out/ --domain dog --seed 7
              starcast translate my-model cat.jpg -o out.png --domain dog --ref rex.jpg
              starcast translate my-model - -o - --domain dog < cat.jpg > out.png
    """
    if Standard.STREAM in (*sources, values["output"]):
        from starcast.runtime.folder.standard_streams import translate_piped

        return _run(translate_piped, bundle, sources, values, to_stderr=True)
    from starcast.runtime.folder.translate import translate_all

    return _run(translate_all, bundle, sources, TranslateOptions(**values))


@click.command("video")
@click.argument("bundle", type=LocalPath())
@click.argument("source", metavar="IN", type=LocalPath())
@out_option("output", _FILM, kind=FileOutput())
@options_from(VideoOptions)
def video(bundle: Path, source: Path, output: str, **values: Any) -> int:
    """Translate a video, keeping its sound and timing.

    Every frame of IN is translated, in order, and shown at its own time. Sound and subtitles are copied if OUT's
    container supports them; other sound is encoded again as AAC. Metadata and chapters are kept. OUT.json records how
    the video was made. The exit status is 1 if IN is damaged or truncated and only a part could be translated.

    \b
    Examples: starcast video my-model clip.mp4 -o out.mp4 --domain dog --seed 7
              starcast video my-model clip.mov -o out.mkv --domain dog --ref rex.jpg --fit pad
    """
    from starcast.runtime.video.translate import translate_video

    return _run(translate_video, bundle, source, _film_path(output, source), VideoOptions(**values))


@click.command("morph")
@click.argument("bundle", type=LocalPath())
@click.argument("source", type=LocalPath())
@out_option("output", _FILM, kind=FileOutput())
@options_from(MorphOptions)
def morph(bundle: Path, source: Path, output: str, **values: Any) -> int:
    """Render a video that loops smoothly through several styles.

    The image SOURCE is translated along a closed path through the styles, like the interpolation videos of
    StarGAN v2. OUT.json records how the video was made.

    \b
    Examples: starcast morph my-model cat.jpg -o loop.mp4 --domain dog --seeds 1,2,3,4
              starcast morph my-model cat.jpg -o loop.mp4 --domain dog --refs rex.jpg,bella.jpg
              starcast morph my-model cat.jpg -o tour.mp4 --domain all --seeds 7
    """
    from starcast.runtime.video.morph import morph as render

    return _run(render, bundle, source, _film_path(output, source), MorphOptions(**values))


@click.command("build")
@click.argument("bundle", type=LocalPath())
@options_from(BuildOptions)
def build(bundle: Path, **values: Any) -> int:
    """Build TensorRT engines from a bundle, for this GPU or for named ones.

    The bundle needs a graph for TensorRT (`starcast export … --for tensorrt --precisions fp16`). Engines go to a cache
    that only you can read. An engine that still fits is not built again. With --gpu, no GPU is needed.

    \b
    Examples: starcast build my-model
              starcast build my-model --gpu sm86,sm89,sm120
              starcast build my-model --precision int8 --batch-range 1:8:16 --size-range 128x128:256x256:512x512
    """
    from starcast.runtime.nvidia.tensorrt.build import build_engines

    return _run(build_engines, bundle, BuildOptions(**values))


@click.group("engines")
def engines() -> None:
    """List or remove the TensorRT engines built on this machine.

    Engines live in your cache, never in a bundle. An engine is executable code, so starcast runs only those built on
    this machine.
    """


@engines.command("list")
def list_engines() -> None:
    """List every engine: its bundle, its GPUs and sizes, and whether it fits this machine."""
    from starcast.runtime.nvidia.tensorrt.engines import table

    click.echo(table())


@engines.command("remove")
@click.argument("keys", metavar="KEY…", nargs=-1)
@click.option("--bundle", metavar="BUNDLE", help="Remove all engines of this bundle, given by name or path.")
def remove_engines(keys: tuple[str, ...], bundle: str | None) -> None:
    """Remove engines by key, or all engines of a bundle. The first digits of a key are enough."""
    from starcast.runtime.nvidia.tensorrt.engines import remove

    click.echo(remove(keys, bundle))


@engines.command("prune")
@click.option("--all", "everything", is_flag=True, help="Remove every engine.")
def prune_engines(everything: bool) -> None:
    """Remove damaged engines, and those of another TensorRT or driver."""
    from starcast.runtime.nvidia.tensorrt.engines import prune

    click.echo(prune(everything))


@click.command("doctor")
def doctor() -> None:
    """Show the engines and devices of this machine, and how to install missing ones.

    Every device of every installed engine is tried with a tiny graph. Add the output to a bug report.
    """
    from starcast.runtime.doctor import examine, render_text

    click.echo(render_text(examine()))


def _film_path(output: str, source: Path) -> Path:
    return name_in(output, source.with_suffix(".mp4").name if source.name else "video.mp4")


def _run(function: Callable[..., Any], *arguments: Any, to_stderr: bool = False) -> int:
    """Call a function that returns a report, print its summary, and return the exit status: 1 if anything failed."""
    with limit_memory():
        report = function(*arguments, progress=lambda line: click.echo(line, err=True), show_progress=True)
    click.echo(report.summary(), err=to_stderr)
    return 1 if report.failed else 0
