"""`morph` without a source: a film that walks between seeds."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_generator import TinyGenerator, write_generator_bundle

from starcast.cli import root
from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator
from starcast.runtime.video.morph import morph
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.timeline.style_path import alphas

CODING = 5  # grey levels that an encoding and two colour conversions may cost


def options(**changes):
    return MorphOptions(**{
        "preset": "ultrafast", "crf": 1, "frames_per_step": 5, "seeds": ("1-3",), "backend": "onnxruntime",
        "threads": 1, **changes,
    })  # fmt: skip


def flat_bundle(folder: Path, channels: int = 3) -> tuple[Path, TinyGenerator]:
    """A generator whose images have one colour each, and a little noise."""
    model = TinyGenerator(channels=channels, height=32, width=48)
    return write_generator_bundle(folder, model), model


def colours_of(film: Path) -> np.ndarray:
    with av.open(str(film)) as container:
        return np.array([frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) for frame in container.decode(video=0)])


def test_a_film_walks_in_straight_lines_between_the_styles_of_seeds_and_comes_back(tmp_path):
    bundle, _ = flat_bundle(tmp_path / "bundle")
    report = morph(bundle, None, tmp_path / "walk.mp4", options(psi=0.4))
    assert (report.frames, report.failed) == (15, [])
    with Translator(bundle, backend="onnxruntime", threads=1) as generator:
        styles = [generator.style(seed=seed, psi=0.4) for seed in (1, 2, 3, 1)]
        path = [
            here * (1 - alpha) + there * alpha
            for here, there in itertools.pairwise(styles) for alpha in alphas(5)
        ]  # fmt: skip
        expected = generator.generate(np.array(path)).mean(axis=(1, 2))
    np.testing.assert_allclose(colours_of(tmp_path / "walk.mp4"), expected, atol=CODING)
    [entry] = read_runs(tmp_path / "walk.mp4.json")
    assert entry["sources"] == []
    assert [style["seed"] for style in entry["styles"]] == [1, 2, 3]


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images_make_films_of_colours_on_white(tmp_path, channels):
    bundle, _ = flat_bundle(tmp_path / "bundle", channels)
    lines: list[str] = []
    morph(bundle, None, tmp_path / "walk.mp4", options(seeds=("7",), psi=0.3), progress=lines.append)
    with Translator(bundle, backend="onnxruntime", threads=1) as generator:
        [image] = generator.generate(generator.style(seed=7, psi=0.3)).astype(float)
    if channels == 4:
        image = image[..., :3] * image[..., 3:] / 255 + 255 - image[..., 3:]
    means = np.broadcast_to(image.mean(axis=(0, 1)), 3)
    np.testing.assert_allclose(colours_of(tmp_path / "walk.mp4")[0], means, atol=CODING)
    assert any("the video shows them on white" in line for line in lines) == (channels == 4)


def test_the_same_command_finds_its_film_and_another_leaves_it(generator_bundle, tmp_path):
    target = tmp_path / "walk.mp4"
    morph(generator_bundle, None, target, options())
    written = target.stat().st_mtime_ns
    assert morph(generator_bundle, None, target, options(seeds=("1", "2-3"))).is_there_already
    (tmp_path / "walk.mp4.json").unlink()
    assert morph(generator_bundle, None, target, options()).is_there_already
    assert (tmp_path / "walk.mp4.json").exists()
    for changes in ({"seeds": ("1-4",)}, {"psi": 0.5}):
        with pytest.raises(OptionError, match="already exists"):
            morph(generator_bundle, None, target, options(**changes))
    assert target.stat().st_mtime_ns == written


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"refs": ("a.png",), "seeds": ()}, "makes images from seeds: give --seeds, such as --seeds 1-8"),
    ({"domain": "dog"}, "has no domains, only one kind of image: leave out --domain"),
    ({"fit": "crop"}, "--fit is for a source"),
    ({"flip": ("Male",)}, "--flip changes a source, and .* has none: leave it out"),
], ids=["references", "domain", "fit", "labels"])  # fmt: skip
def test_options_that_need_a_source_are_refused(generator_bundle, tmp_path, changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        morph(generator_bundle, None, tmp_path / "walk.mp4", options(**changes))
    assert not list(tmp_path.iterdir())


def test_a_missing_or_superfluous_source_is_refused(generator_bundle, tiny_bundle, tmp_path):
    write_image(tmp_path / "cat.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(OptionError, match=r"makes images from styles alone: leave out .*cat\.png, and give --seeds"):
        morph(generator_bundle, tmp_path / "cat.png", tmp_path / "walk.mp4", options())
    with pytest.raises(OptionError, match="translates an image: give one after the bundle"):
        morph(tiny_bundle, None, tmp_path / "walk.mp4", options(domain="dog"))


def test_the_command_takes_no_source_and_names_its_film(generator_bundle, tmp_path):
    result = CliRunner().invoke(
        root,
        ["morph", str(generator_bundle), "-o", f"{tmp_path}/", "--seeds", "1,2", "--frames-per-step", "3"],
        standalone_mode=False,
    )
    assert result.exception is None
    assert result.return_value == 0
    assert (tmp_path / "video.mp4").exists()
