"""The commands that write a video: `video` and `morph`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from starcast.click_options import GroupedCommand, options_from, out_option
from starcast.errors import OptionError, printable
from starcast.path_types import FileOutput, LocalOrStream, LocalPath, Standard, name_in
from starcast.runtime.cli import run
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.output.codecs import suffix_for

_VIDEO = (
    "the video to write (.mp4, .m4v, .mov, .mkv, .webm; animated .gif, .webp, .png; or images, as %05d.png), - for "
    "standard output, or a folder for an .mp4 named after the source"
)

_NO_PREVIEW_OF_STREAMS = (
    "reads several places of a video and writes beside OUT, so - cannot stand for either: give a file as SOURCE, and "
    "a file or a folder as -o"
)
_ENGINE = ("backend", "precision", "batch", "threads", "memory", "remeasure")
_ENCODING = ("codec", "crf", "bitrate", "preset", "pixel_format", "hardware")
_LABELS = ("set", "unset", "flip", "has", "labels")
_RECURSION = ("recursion", "recursion_zoom", "recursion_shift", "recursion_rotate", "recursion_shear")
VIDEO_HEADINGS = {
    "What to translate": ("output", "container", "jobs", "preview", "overwrite", "restart", "statistics"),
    "Style": ("domain", "seed", "ref", "psi"),
    "Style of models steered by labels": _LABELS,
    "Style over time": ("style_keys", "refs", "seeds", "frames_per_step", "loop", *_RECURSION, "smooth"),
    "Frame": ("fit", "keep_size", "roi", "feather", "layout", "split_at", "opacity", "match_colour"),
    "Faces": ("align", "faces", "steady", "landmarks", "mean"),
    "Time": ("start", "end", "fps"),
    "Input": ("stream", "hdr", "deinterlace", "keep_alpha", "metadata", "max_pixels"),
    "Encoding": _ENCODING,
    "Engine": _ENGINE,
}
MORPH_HEADINGS = {
    "What to render": ("output", "container", "fit", "official", "overwrite", "restart", "statistics"),
    "Styles": ("domain", "refs", "seeds", "psi", "style_keys"),
    "Styles of models steered by labels": _LABELS,
    "Time": ("fps", "frames_per_step", "duration"),
    "Recursion": _RECURSION,
    "Encoding": _ENCODING,
    "Engine": _ENGINE,
}

_container = click.option(
    "--container", type=click.Choice(("mkv", "webm", "mp4", "mov", "gif", "webp", "png")),
    help="Container of what -o - writes to standard output. Default: mkv.",
)  # fmt: skip


@click.command("video", cls=GroupedCommand, headings=VIDEO_HEADINGS)
@click.argument("bundle", metavar="[BUNDLE]", required=False, type=LocalPath())
@click.argument("sources", metavar="[SOURCE…]", nargs=-1, type=LocalOrStream())
@out_option("output", f"{_VIDEO}; for several sources, a folder.", required=False, kind=FileOutput(takes_stream=True))
@_container
@click.option(
    "--jobs", metavar="FILE", type=LocalPath(),
    help="Translate what a YAML file lists: sources, styles, outputs and options. Options given beside --jobs hold for "
    "every job.",
)  # fmt: skip
@options_from(VideoOptions)
@click.pass_context
def video(
    context: click.Context, /, bundle: Path | None, sources: tuple[Path | Standard, ...], output: str | None,
    jobs: Path | None, **values: Any,
) -> int:  # fmt: skip
    """Translate videos, keeping their sound and timing.

    A SOURCE is a video, a folder (searched with its subfolders), a pattern in quotes ('clips/*.mov'), or a list (.txt,
    one path per line, relative to the list). Numbered images are a video, too: a folder of them, or shot_%05d.png.
    - stands for a video on standard input. Of several, OUT is a folder and keeps the layout of the folders. Run the
    command again to resume: finished videos are skipped. Videos that fail are listed at the end, and the exit status
    is 1.

    Every frame is translated, in order, and shown at its own time. Sound and subtitles are copied if OUT's
    container supports them; otherwise they are converted. Metadata and chapters are kept,
    except with --no-metadata. OUT.json records how the video was made. The exit status is 1, too, if a source is
    damaged or truncated and only a part could be translated.

    \b
    Examples: starcast video my-model clip.mp4 -o out.mp4 --domain dog --seed 7
              starcast video my-model clip.mov -o out.mkv --domain dog --ref rex.jpg --fit pad
              starcast video my-model clips/ -o dogs/ --domain dog --ref rex.jpg
              starcast video --jobs night.yaml
    """
    if jobs is not None:
        if sources:
            extra = "-" if isinstance(sources[0], Standard) else printable(sources[0])
            raise OptionError(f"--jobs lists the videos: leave out {extra}, or name it in the file")
        if output == "-":
            raise OptionError("-o - writes one video, and --jobs lists several: give -o a folder")
        _refuse_container(values.pop("container"), output or "")
        from starcast.runtime.video.many.jobs import run_jobs

        given = {name: value for name, value in values.items() if _is_given(context, name)}
        return run(run_jobs, jobs, bundle, output, given)
    if bundle is None or not sources:
        raise click.UsageError(f"Missing argument '{'BUNDLE' if bundle is None else 'SOURCE…'}'.", context)
    if output is None:
        raise click.UsageError("Missing option '-o' / '--out'.", context)
    from starcast.runtime.video.input.find_films import may_be_several

    container = values.pop("container")
    options = VideoOptions(**values)
    _refuse_container(container, output)
    paths = [source for source in sources if source is not Standard.STREAM]
    if options.preview and (output == "-" or len(paths) < len(sources)):
        raise OptionError(f"--preview {_NO_PREVIEW_OF_STREAMS}")
    if len(paths) < len(sources):
        from starcast.runtime.video.standard_input import translate_standard_input

        if len(sources) > 1:
            raise OptionError("- stands for the video on standard input: give it alone")
        if output == "-":
            return _run_piped(
                lambda target, **tell: translate_standard_input(bundle, target, options, **tell), container
            )
        return run(translate_standard_input, bundle, _film_path(output, None, options.codec), options)
    if may_be_several(paths):
        if output == "-":
            raise OptionError("-o - writes one video, and several sources are given: give -o a folder")
        from starcast.runtime.video.many.translate_many import translate_videos

        return run(translate_videos, bundle, paths, output, options)
    from starcast.runtime.video.translate import translate_video

    if output == "-":
        return _run_piped(lambda target, **tell: translate_video(bundle, paths[0], target, options, **tell), container)
    return run(translate_video, bundle, paths[0], _film_path(output, paths[0], options.codec), options)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


@click.command("morph", cls=GroupedCommand, headings=MORPH_HEADINGS)
@click.argument("bundle", type=LocalPath())
@click.argument("sources", metavar="[SOURCE…]", nargs=-1, type=LocalPath())
@out_option("output", f"{_VIDEO}; without a source or with several, for video.mp4.", kind=FileOutput(takes_stream=True))
@_container
@options_from(MorphOptions)
def morph(bundle: Path, sources: tuple[Path, ...], output: str, **values: Any) -> int:
    """Render a video that loops smoothly through several styles.

    The image SOURCE is translated along a closed path through the styles, like the interpolation videos of
    StarGAN v2. With a StarGAN v1 bundle, the loop starts at the source's own labels. A StyleGAN2 bundle takes no
    SOURCE and needs --seeds. With --official, SOURCE may be several images, folders, patterns in quotes or lists.
    OUT.json records how the video was made.

    \b
    Examples: starcast morph my-model cat.jpg -o loop.mp4 --domain dog --seeds 1,2,3,4
              starcast morph my-model cat.jpg -o loop.mp4 --domain dog --refs rex.jpg,bella.jpg
              starcast morph my-model cat.jpg -o tour.mp4 --domain all --seeds 7
              starcast morph faces me.jpg -o loop.mp4 --set Blond_Hair --has Black_Hair,Young
              starcast morph my-generator -o walk.mp4 --seeds 1-8 --psi 0.7
              starcast morph my-model cats/ -o video_ref.mp4 --refs refs/ --official
    """
    from starcast.runtime.folder.patterns import is_pattern
    from starcast.runtime.video.morph import morph as render

    container = values.pop("container")
    options = MorphOptions(**values)
    _refuse_container(container, output)
    if output == "-":
        return _run_piped(lambda target, **tell: render(bundle, sources, target, options, **tell), container)
    one = sources[0] if len(sources) == 1 and not is_pattern(sources[0]) else None
    return run(render, bundle, sources, _film_path(output, one, values["codec"]), MorphOptions(**values))


def _film_path(output: str, source: Path | None, codec: str | None) -> Path:
    suffix = suffix_for(codec)
    from starcast.runtime.video.input.sequence_files import is_sequence, name_of

    if source is None or not source.name:
        return name_in(output, f"video{suffix}")
    return name_in(output, f"{name_of(source)}{suffix}" if is_sequence(source) else source.with_suffix(suffix).name)


def _run_piped(render: Callable[..., Any], container: str | None) -> int:
    from starcast.runtime.video.output.standard_output import render_to_standard_output

    return run(render_to_standard_output, render, container, to_stderr=True)


def _refuse_container(container: str | None, output: str) -> None:
    if container is not None and output != "-":
        raise OptionError("--container is for -o -, standard output: leave it out, the name of OUT says it")
