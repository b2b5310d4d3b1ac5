"""`starcast live`: one source, one model, and the sinks that show its translations."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from starcast.absence import is_url
from starcast.atomic import write_text
from starcast.errors import OptionError, StyleError, VideoError, printable
from starcast.images.fit import fit
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.live.again import Again
from starcast.runtime.live.age import Ages
from starcast.runtime.live.captured import Image, Translated
from starcast.runtime.live.looks import Look, Looks
from starcast.runtime.live.model import Feed, LiveModel
from starcast.runtime.live.newest import Ended
from starcast.runtime.live.options import LiveOptions
from starcast.runtime.live.sinks.background import WAITING, BackgroundSink
from starcast.runtime.live.sinks.encoded import EncodedSink, check_output
from starcast.runtime.live.sources.camera import CameraSource
from starcast.runtime.live.sources.stream import FileSource, StreamSource
from starcast.runtime.style_requests import requests_from
from starcast.runtime.styles import make_styles
from starcast.runtime.translator import Translator
from starcast.signals import undisturbed

WINDOW = "window"
_END_S = 1.0  # that a source may take to end; a network that does not answer may take longer
_LOOK_S = 0.02  # how long keys wait while no frame comes
Source = CameraSource | StreamSource | FileSource


@dataclass
class LiveReport:
    """What `translate_live` did."""

    ages: Ages
    failed: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line."""
        return self.ages.line()


def translate_live(
    bundle_path: Path,
    source: str | None,
    outputs: Sequence[str],
    options: LiveOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> LiveReport:
    """Translate a source into `outputs`, until it ends, the window is closed, or Ctrl-C is pressed.

    Raises OptionError, StyleError, BundleError, EngineError, VideoError, MissingExtraError.
    """
    del show_progress  # a live source has no end that a bar could lead to
    stop = threading.Event()
    outputs = list(outputs) or [WINDOW]
    for output in outputs:
        if output != WINDOW:
            check_output(output, overwrite=options.overwrite)
    frames = _source_of(source, options, progress, stop)
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    ages = Ages()
    with ExitStack() as stack:
        translator = stack.enter_context(Translator(bundle, progress=progress, **options.engine))
        looks, steers = _looks_of(options, bundle, translator, progress)
        height, width = translator.size
        translator(np.zeros((height, width, 3), np.uint8), looks.style_at(0.0))  # compiles, before frames come
        window = _window_of(outputs, looks, bundle, ages, steers)
        sinks = [
            _in_background(output, ages, progress, stop, counts=window is None and output == outputs[0])
            for output in outputs
            if output != WINDOW
        ]
        if window is not None:
            stack.callback(window.close)
        for sink in sinks:
            stack.callback(_close, sink, progress)
        model = stack.enter_context(LiveModel(translator))
        feed = model.feed(_preparation(translator, options.fit, frames.name), looks.style_at)
        reader = threading.Thread(target=_read, args=(frames, feed, ages), name="starcast-live-source", daemon=True)
        ages.start()
        with undisturbed():
            reader.start()
            stack.callback(reader.join, _END_S)  # a camera is closed in its thread
            stack.callback(stop.set)
        try:
            _show(feed, window, sinks, ages)
        except KeyboardInterrupt:
            progress("Stopped.")
    if options.statistics is not None:
        write_text(options.statistics, json.dumps(ages.facts(), indent=2) + "\n")
    return LiveReport(ages)


def _source_of(source: str | None, options: LiveOptions, say: Callable[[str], None], stop: threading.Event) -> Source:
    if source is None:
        number = options.camera or 0
        if options.repeat:
            raise OptionError("--repeat is for files: leave it out for a camera")
        return CameraSource(number, say, stop, size=options.asked_size, fps=options.asked_fps)
    cameras = {"--camera": options.camera, "--camera-size": options.camera_size, "--fps": options.fps}
    for flag, value in cameras.items():
        if value is not None:
            raise OptionError(f"{flag} is for a camera: leave it out, or leave out {printable(source)}")
    if not is_url(source):
        return FileSource(Path(source), stop, repeats=options.repeat)
    if options.repeat:
        raise OptionError("--repeat is for files: leave it out for a stream")
    return StreamSource(source, say, stop)


def _looks_of(
    options: LiveOptions, bundle: Bundle, translator: Translator, progress: Callable[[str], None]
) -> tuple[Looks, bool]:
    """The looks, and whether keys may change them."""
    manifest = bundle.manifest
    labels = manifest.condition.labels
    requests = requests_from(options, manifest.domains, labels=labels, progress=progress, several=False)
    if len(requests) > 1:
        raise StyleError("live shows one style at a time: give one --domain, and one image as --ref")
    [request] = requests
    if request.depends_on_source:
        raise StyleError("live does not read labels from frames: add --has, or give all of them with --labels")
    if labels is not None:
        [style] = make_styles(requests, translator.style, progress)
        return Looks(lambda **_: style, Look()), False
    look = Look(request.domain, request.seed, request.reference, psi=request.psi)
    return Looks(translator.style, look), True


def _window_of(outputs: Sequence[str], looks: Looks, bundle: Bundle, ages: Ages, steers: bool) -> Any:
    """The window, if it is one of the outputs."""
    if WINDOW not in outputs:
        return None
    from starcast.runtime.live.sinks.window import Window

    return Window(looks, bundle.manifest.domains, ages.line, steers=steers)


def _in_background(
    output: str, ages: Ages, say: Callable[[str], None], stop: threading.Event, *, counts: bool
) -> BackgroundSink:
    """A recording, which keeps what waits, or a push, which takes the newest and comes back after a fault. `counts`:
    the figures are those of this output."""
    sink = EncodedSink(output)

    def shown(result: Translated) -> None:
        if counts:
            ages.show(result.at, result.engine_s)

    if is_url(output):
        return BackgroundSink(sink, 1, shown, Again(sink.name, say, stop))
    return BackgroundSink(sink, WAITING, shown)


def _close(sink: BackgroundSink, say: Callable[[str], None]) -> None:
    sink.close()
    if sink.left_out and not sink.takes_newest:
        say(f"{sink.name} lacks {sink.left_out} frames: it was written too slowly")


def _preparation(translator: Translator, mode: str, name: str) -> Callable[[Image], Image]:
    def prepare(image: Image) -> Image:
        fitted = np.ascontiguousarray(fit(image, translator.size, mode))
        reason = translator.why_not(*fitted.shape[:2])
        if reason is not None:
            raise VideoError(f"{name} has frames of {image.shape[1]}x{image.shape[0]}: {reason}")
        return fitted

    return prepare


def _read(source: Source, feed: Feed, ages: Ages) -> None:
    """Hand over a source's frames, in a thread of its own."""
    try:
        for frame in source.frames():
            ages.capture()
            feed.frames.put(frame)
        feed.frames.close()
    except BaseException as error:  # noqa: BLE001  raised again where the results are taken
        feed.frames.close(error)


def _show(feed: Feed, window: Any, sinks: Sequence[BackgroundSink], ages: Ages) -> None:
    """Show results until nothing follows, or the window is closed."""
    while True:
        try:
            result = feed.results.take(_LOOK_S)
        except Ended:
            return
        for sink in sinks:
            sink.show(result)
        if window is None:
            continue
        if not window.show(result):  # which has keys between frames, too
            return
        if result is not None:
            ages.show(result.at, result.engine_s)
