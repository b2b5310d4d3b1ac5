"""Films of bundles that are steered by labels."""

from __future__ import annotations

import av
import numpy as np
import pytest

from starcast.errors import OptionError, StyleError
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.manifest import Classifier, LabelMaker
from starcast.runtime.record import read_runs
from starcast.runtime.video.morph import morph, requests_for
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.translate import translate_video

NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
ATTRIBUTES, CLASSES = LabelMaker(names=NAMES), LabelMaker(names=("angry", "happy"), classes=2)
CODING = {"backend": "onnxruntime", "preset": "ultrafast", "crf": 0}


def test_a_film_is_translated_by_labels_and_known_again(label_bundle, make_clip, tmp_path):
    grey = np.full((32, 32, 3), 128, np.uint8)
    clip, target = make_clip("in.mp4", frames=2, images=[grey, grey]), tmp_path / "out.mp4"
    given = VideoOptions(set=("Smiling",), has=("Young",), **CODING)
    assert translate_video(label_bundle(), clip, target, given, progress=lambda line: None).frames == 2
    again = VideoOptions(labels=(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0), **CODING)
    assert translate_video(label_bundle(), clip, target, again, progress=lambda line: None).is_there_already
    other = VideoOptions(set=("Smiling",), has=(), **CODING)
    with pytest.raises(OptionError, match="already exists"):
        translate_video(label_bundle(), clip, target, other, progress=lambda line: None)
    with pytest.raises(OptionError, match="a video gets one style, but 8 were asked for: give one --domain, or --set"):
        translate_video(label_bundle(), clip, tmp_path / "x.mp4", VideoOptions(domain="all", has=()))


def test_a_loop_goes_from_the_source_as_it_is_through_what_is_asked_for(label_bundle, tiny_model, tmp_path):
    settings = MorphOptions(set=("Male",), has=("Young",))
    assert [request.label for request in requests_for(settings, NAMES, labels=ATTRIBUTES)] == ["as-it-is", "Male"]
    assert len(requests_for(MorphOptions(domain="all", has=()), NAMES, labels=ATTRIBUTES)) == 6
    assert len(requests_for(MorphOptions(domain="all"), CLASSES.names, labels=CLASSES)) == 2
    with pytest.raises(StyleError, match="--labels is one style, and a loop needs the source's own attributes, too"):
        requests_for(MorphOptions(labels=(1, 0, 0, 0, 1)), NAMES, labels=ATTRIBUTES)
    reading = LabelMaker(names=NAMES, classifier=Classifier(graph="c.onnx", height=8, width=8))
    assert len(requests_for(MorphOptions(labels=(1, 0, 0, 0, 1)), NAMES, labels=reading)) == 2
    with pytest.raises(StyleError, match="so it takes no --seeds"):
        requests_for(MorphOptions(seeds=("1",)), NAMES, labels=ATTRIBUTES)
    with pytest.raises(StyleError, match="give either --refs or --seeds"):
        requests_for(MorphOptions(domain="cat"), ("cat", "dog"))
    photo, target = tmp_path / "photo.png", tmp_path / "loop.mp4"
    write_image(photo, np.full((32, 32, 3), 128, np.uint8))
    settings = MorphOptions(set=("Male",), has=("Young",), frames_per_step=3, **CODING)
    morph(label_bundle(), photo, target, settings, progress=lambda line: None)
    with av.open(str(target)) as film:
        first, *_ = [frame.to_ndarray(format="rgb24")[16, 16].astype(int) for frame in film.decode(video=0)]
    own = tiny_model.translation(read_image(photo)[None], np.eye(8)[4])[0, 16, 16].astype(int)
    assert np.abs(first - own).max() <= 5  # what an encoding may cost


def test_a_film_is_read_once_from_its_first_frame(label_bundle, make_clip, tiny_model, tmp_path):
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in ((200, 60, 60), (60, 200, 60), (60, 60, 200))]
    clip, target, lines = make_clip("in.mp4", frames=3, images=frames), tmp_path / "out.mp4", []
    settings = VideoOptions(set=("Male",), batch=1, **CODING)
    report = translate_video(label_bundle(reads=True), clip, target, settings, progress=lines.append)
    assert report.frames == 3
    assert [line for line in lines if " has " in line] == [f"{clip} has Black_Hair"]
    [record] = read_runs(tmp_path / "out.mp4.json")
    assert record["has"] == {str(clip): ["Black_Hair"]}
    with av.open(str(target)) as film:
        seen = [frame.to_ndarray(format="rgb24")[16, 16].astype(int) for frame in film.decode(video=0)]
    own = np.array([1, 0, 0, 1, 0, 0, 0, 0])
    for colour, frame in zip(seen, frames, strict=True):
        assert (
            np.abs(colour - tiny_model.translation(frame[None], own)[0, 16, 16].astype(int)).max() <= 8
        )  # two codings
    assert translate_video(label_bundle(reads=True), clip, target, settings, progress=lines.append).is_there_already
