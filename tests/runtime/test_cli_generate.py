"""`starcast generate`: which images and grids it writes, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_generator import TinyGenerator, write_generator_bundle

from starcast.cli import root
from starcast.errors import OptionError, StyleError
from starcast.images.mark import read_mark
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.choose import recall_choice
from starcast.runtime.generate import run
from starcast.runtime.generate.options import GenerateOptions
from starcast.runtime.generate.run import generate_all
from starcast.runtime.style_layers import mix
from starcast.runtime.translator import Translator

ENGINE = ("--backend", "onnxruntime", "--threads", "1")
BASE = "truncation_base.png"


def _generate(*arguments: object) -> int:
    result = CliRunner().invoke(root, ["generate", *map(str, arguments), *ENGINE], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    status: int = result.return_value
    return status


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def generator(generator_bundle):
    with Translator(generator_bundle, backend="onnxruntime", threads=1) as opened:
        yield opened


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_seed_is_an_image_as_from_python(generator, generator_bundle, tmp_path):
    assert _generate(generator_bundle, "-o", tmp_path / "out", "--seeds", "3,7,20-22", "--psi", 0.7) == 0
    assert _names(tmp_path / "out") == {f"seed{seed}.png" for seed in (3, 7, 20, 21, 22)} | {BASE, "starcast.json"}
    for seed in (3, 22):
        [image] = generator.generate(generator.style(seed=seed, psi=0.7))
        np.testing.assert_array_equal(_pixels(tmp_path / f"out/seed{seed}.png"), image)


def test_the_truncation_base_is_the_mean_styles_image(generator, generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path, "--seeds", 1, "--psi", 0.5)
    np.testing.assert_array_equal(_pixels(tmp_path / BASE), generator.generate(generator.style(seed=1, psi=0))[0])


def test_sixteen_images_are_made_if_nothing_is_named(generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path)
    assert _names(tmp_path) == {*(f"seed{seed}.png" for seed in range(16)), BASE, "starcast.json"}


def test_a_mix_has_the_first_seeds_coarse_layers_and_the_seconds_fine_ones(generator, generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path / "half", "--mix", "3:7")
    _generate(generator_bundle, "-o", tmp_path / "one", "--mix", "3:7,0-1:8", "--layer", 1, "--psi", 0.6)
    coarse, fine = generator.style(seed=3), generator.style(seed=7)
    [image] = generator.generate(np.stack([coarse[0], coarse[1], fine[2], fine[3]]))
    np.testing.assert_array_equal(_pixels(tmp_path / "half/mix3-7.png"), image)
    assert _names(tmp_path / "one") == {"mix3-7.png", "mix0-8.png", "mix1-8.png", BASE, "starcast.json"}
    [image] = generator.generate(mix(generator.style(seed=1, psi=0.6), generator.style(seed=8, psi=0.6), 1))
    np.testing.assert_array_equal(_pixels(tmp_path / "one/mix1-8.png"), image)


@pytest.mark.parametrize(("noise", "choice"), [("constant", "constant"), ("zero", "zero"), ("random", 5)])
def test_noise_is_as_from_python(generator, generator_bundle, tmp_path, noise, choice):
    _generate(generator_bundle, "-o", tmp_path, "--seeds", "2-5", "--noise", noise)
    [image] = generator.generate(generator.style(seed=5), choice)
    np.testing.assert_array_equal(_pixels(tmp_path / "seed5.png"), image)


def test_a_grid_holds_its_images_row_by_row_and_stays_white_at_the_end(generator, generator_bundle, tmp_path):
    assert _generate(generator_bundle, "-o", tmp_path, "--seeds", "0-4", "--grid", "3x4") == 0
    assert _names(tmp_path) == {"grid.png", BASE, "starcast.json"}
    grid = _pixels(tmp_path / "grid.png")
    assert grid.shape == (2 * 16, 3 * 16, 3)  # two of the four rows are needed
    for seed in range(5):
        row, column = divmod(seed, 3)
        cell = grid[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        np.testing.assert_array_equal(cell, generator.generate(generator.style(seed=seed))[0])
    assert (grid[16:, 32:] == 255).all()


def test_more_images_than_a_grid_holds_make_more_grids_and_each_adds_the_images(generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path, "--seeds", "0-4", "--grid", "2x1", "--each", "--format", "webp")
    files = {f"{name}.webp" for name in ("grid1", "grid2", "grid3", "truncation_base", *(f"seed{n}" for n in range(5)))}
    assert _names(tmp_path) == files | {"starcast.json"}
    np.testing.assert_array_equal(
        _pixels(tmp_path / "grid2.webp"),
        np.hstack([_pixels(tmp_path / "seed2.webp"), _pixels(tmp_path / "seed3.webp")]),
    )
    assert _pixels(tmp_path / "grid3.webp").shape == (16, 32, 3)


def test_one_image_or_one_grid_may_have_a_name(generator_bundle, tmp_path):
    assert _generate(generator_bundle, "-o", tmp_path / "one.png", "--seeds", 7) == 0
    assert _generate(generator_bundle, "-o", tmp_path / "new" / "sheet.JPG", "--seeds", "0-3", "--grid", "2x2") == 0
    assert _names(tmp_path) == {"one.png", "one.png.json", "new"}
    assert _pixels(tmp_path / "new/sheet.JPG").shape == (32, 32, 3)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_grey_and_rgba_images_are_written_as_such(tmp_path, channels, mode, suffix):
    model = TinyGenerator(channels=channels, height=8, width=12)
    bundle = write_generator_bundle(tmp_path / "bundle", model)
    _generate(bundle, "-o", tmp_path / "out", "--seeds", "0-2", "--grid", "2x2", "--each", "--format", suffix)
    with Translator(bundle, backend="onnxruntime", threads=1) as generator:
        [image] = generator.generate(generator.style(seed=2))
    with Image.open(tmp_path / f"out/seed2.{suffix}") as written:
        assert written.mode == (mode if (mode, suffix) != ("L", "webp") else "RGB")  # WebP knows no grey
        pixels = np.asarray(written.convert(mode)).reshape(image.shape)
    np.testing.assert_array_equal(pixels, image)
    with Image.open(tmp_path / f"out/grid.{suffix}") as grid:
        empty = np.asarray(grid.convert(mode))[8:, 12:]
    assert (empty == (255 if channels == 1 else [255, 255, 255, 0])).all()


def test_a_second_run_finds_everything_there(generator_bundle, tmp_path, capsys):
    call = (generator_bundle, "-o", tmp_path, "--seeds", "0-3", "--grid", "2x2", "--each", "--noise", "random")
    _generate(*call)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert _generate(*call) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def test_only_what_is_missing_or_damaged_is_made_again(generator_bundle, tmp_path):
    call = (generator_bundle, "-o", tmp_path, "--seeds", "0-3", "--grid", "2x2", "--each")
    _generate(*call)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    (tmp_path / "seed1.png").unlink()
    (tmp_path / "grid.png").write_bytes(before[tmp_path / "grid.png"][:-40])
    report = generate_all(generator_bundle, _options(tmp_path, seeds=("0-3",), grid="2x2", each=True))
    assert (report.done, report.skipped, report.failed) == (2, 4, [])
    assert {path: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_more_seeds_join_those_that_are_there(generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path, "--seeds", "0-3", "--noise", "random")
    report = generate_all(generator_bundle, _options(tmp_path, seeds=("2-5",), noise="random"))
    assert (report.done, report.skipped) == (2, 3)
    assert len(json.loads((tmp_path / "starcast.json").read_text())["runs"]) == 2


def _options(output: Path, **values: object) -> GenerateOptions:
    return GenerateOptions(output=output, backend="onnxruntime", threads=1, **values)


@pytest.mark.parametrize("changes", [
    {"psi": 0.5}, {"noise": "zero"}, {"mix": ("0:1",), "seeds": ("0",), "layer": 1},
], ids=["psi", "noise", "layer"])  # fmt: skip
def test_images_with_other_settings_are_not_replaced_unless_asked(generator_bundle, tmp_path, changes):
    first = {"seeds": ("0",), "mix": ("0:1",)}
    generate_all(generator_bundle, _options(tmp_path, **first))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        OptionError, match=r"made with a different bundle, seeds or options.*: choose another -o, or give --o"
    ):
        generate_all(generator_bundle, _options(tmp_path, **{**first, **changes}))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert generate_all(generator_bundle, _options(tmp_path, **{**first, **changes}, overwrite=True)).done == 3


def test_a_file_of_the_users_stays_and_nothing_is_written(generator_bundle, tmp_path):
    (tmp_path / "seed2.png").write_text("a drawing")
    with pytest.raises(OptionError, match=r"seed2\.png already exists, not written by starcast"):
        generate_all(generator_bundle, _options(tmp_path))
    assert _names(tmp_path) == {"seed2.png"}
    assert (tmp_path / "seed2.png").read_text() == "a drawing"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/starcast.json").write_text("{}")
    with pytest.raises(
        OptionError, match=r"starcast\.json is in the way of this run's record \(not written by starcast\)"
    ):
        generate_all(generator_bundle, _options(tmp_path / "other", overwrite=True))


def test_auto_measures_the_engines_while_images_are_written(generator_bundle, tmp_path):
    lines: list[str] = []
    options = GenerateOptions(output=tmp_path / "out", seeds=("1-2",), threads=2, remeasure=True)
    generate_all(generator_bundle, options, progress=lines.append)
    assert sum("is the fastest here" in line for line in lines) <= 1
    assert _names(tmp_path / "out") == {"seed1.png", "seed2.png", BASE, "starcast.json"}
    verdict = recall_choice(open_bundle(generator_bundle), options=EngineOptions(threads=2), kinds=("generate",))
    assert (verdict is not None) == any("is the fastest here" in line for line in lines)


def test_nothing_is_written_into_a_bundle(generator_bundle):
    before = _names(generator_bundle)
    for output in (
        generator_bundle,
        generator_bundle / "sheet.png",
        generator_bundle / "faces",
        generator_bundle / "a/b",
    ):
        with pytest.raises(OptionError, match="is a bundle: choose another -o"):
            generate_all(generator_bundle, _options(output, seeds=("1",), overwrite=True))
    assert _names(generator_bundle) == before


def test_a_folder_in_the_way_is_a_failure_and_the_rest_is_made(generator_bundle, tmp_path):
    (tmp_path / "seed1.png").mkdir()
    assert _generate(generator_bundle, "-o", tmp_path, "--seeds", "0-2") == 1
    assert {"seed0.png", "seed2.png"} <= _names(tmp_path)


def test_an_overwriting_run_that_was_stopped_goes_on_where_it_was(generator_bundle, tmp_path, monkeypatch):
    options = _options(tmp_path, seeds=("0-5",), batch=1, overwrite=True)
    generate_all(generator_bundle, options)

    made = run.ImageMaker.images

    def stop(self, prepared):
        if prepared.specs[0].seed == 3:
            raise KeyboardInterrupt
        return made(self, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(run.ImageMaker, "images", stop)
        with pytest.raises(KeyboardInterrupt):
            generate_all(generator_bundle, options)
    report = generate_all(generator_bundle, options)
    assert (report.done, report.skipped) == (3, 4)  # the base and seeds 0 to 2 are there


@pytest.mark.parametrize("noise", ["constant", "random"])
def test_the_next_styles_and_noise_are_prepared_while_images_are_made(generator_bundle, tmp_path, monkeypatch, noise):
    prepare, made = run.ImageMaker.prepare, run.ImageMaker.images
    ready = {seed: threading.Event() for seed in range(4)}

    def prepare_and_tell(self, specs):
        prepared = prepare(self, specs)
        ready[specs[0].seed or 0].set()
        return prepared

    def make_when_the_next_is_ready(self, prepared):
        seed = prepared.specs[0].seed
        assert seed in (None, 3) or ready[seed + 1].wait(20)
        return made(self, prepared)

    monkeypatch.setattr(run.ImageMaker, "prepare", prepare_and_tell)
    monkeypatch.setattr(run.ImageMaker, "images", make_when_the_next_is_ready)
    report = generate_all(generator_bundle, _options(tmp_path, seeds=("0-3",), batch=1, noise=noise))
    assert (report.done, report.failed) == (5, [])
    assert report.summary().splitlines()[1].startswith("Milliseconds per image: styles ")


def test_a_style_that_fails_ends_the_run_with_its_reason(generator_bundle, tmp_path, monkeypatch):
    style = run.ImageMaker.style

    def fail(self, spec):
        if spec.seed == 2:
            raise StyleError("no such style")
        return style(self, spec)

    monkeypatch.setattr(run.ImageMaker, "style", fail)
    with pytest.raises(StyleError, match="no such style"):
        generate_all(generator_bundle, _options(tmp_path, seeds=("0-3",), batch=1))
    assert _names(tmp_path) == {"seed0.png", "seed1.png", BASE, "starcast.json"}


def test_the_record_says_how_to_make_every_image_again(generator_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path, "--seeds", "7", "--mix", "3:7", "--layer", 3, "--psi", 0.7)
    [entry] = json.loads((tmp_path / "starcast.json").read_text())["runs"]
    assert entry["styles"] == [
        {"label": "seed7", "seed": 7, "psi": 0.7},
        {"label": "mix3-7", "seed": 3, "fine_seed": 7, "layer": 3, "psi": 0.7},
    ]
    assert entry["counts"] == {"written": 3, "there_already": 0, "failed": 0}
    assert entry["engine"]["name"] == "onnxruntime"
    assert "finished" in entry
    assert entry["options"]["noise"] == "constant"


def test_images_carry_a_mark_and_are_no_sources(generator_bundle, tiny_bundle, tmp_path):
    _generate(generator_bundle, "-o", tmp_path / "made", "--seeds", "0-1")
    assert (read_mark(tmp_path / "made/seed0.png") or "").startswith("starcast settings=")
    result = CliRunner().invoke(
        root, ["translate", str(tiny_bundle), str(tmp_path / "made"), "-o", str(tmp_path / "out"), "--domain", "dog"],
        standalone_mode=False,
    )  # fmt: skip
    assert "holds only translations that starcast made" in str(result.exception)


def test_a_seed_that_is_named_twice_is_made_once_and_said(generator_bundle, tmp_path):
    lines: list[str] = []
    report = generate_all(generator_bundle, _options(tmp_path, seeds=("1-3", "2")), progress=lines.append)
    assert report.done == 4
    assert lines == ["1 repeated image is made only once"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--seeds", "x"], "--seeds has 'x': give seeds and ranges of seeds"),
    (["--grid", "4"], "--grid is '4': give columns x rows, such as 4x4"),
    (["--grid", "0x4"], "--grid is '0x4': give columns x rows"),
    (["--grid", "5000x1", "--seeds", "0-4999", "--format", "jpg"], "80000x16 pixels are more than the 65500 a side"),
    (["--grid", "4094x1", "--seeds", "0-4093", "--format", "jpg"], "65504x16 pixels are more than the 65500 a side"),
    (["--grid", "2000x1", "--seeds", "0-1999", "--format", "webp"], "32000x16 pixels are more than the 16383 a side"),
    (["--each"], "--each needs --grid"),
    (["--layer", "2"], "--layer needs --mix"),
    (["--mix", "3:7", "--layer", "4"], "--layer is 4, but the model's last layer is 3"),
    (["--quality", "90"], "--quality is for JPEG and WebP"),
    (["-o", "x.png"], "x.png is one file, but 16 would be written: give --grid, or give a folder as -o"),
    (["-o", "x.png", "--grid", "3x3"], "but 2 would be written: give a larger --grid, or give a folder as -o"),
    (["-o", "x.png", "--grid", "4x4", "--each"], "but 17 would be written: leave out --each, or give a folder"),
    (["-o", "x.gif"], "x.gif cannot be written: end it in .png"),
    (["-o", "-"], "cannot be -, which means standard output"),
], ids=["seeds", "grid", "no columns", "jpeg", "jpeg at the limit", "webp", "each", "layer", "large layer", "quality",
        "one image", "small grid", "image and each", "format", "stream"])  # fmt: skip
def test_wrong_use_is_one_sentence_and_writes_nothing(generator_bundle, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    output = [] if "-o" in arguments else ["-o", "out"]
    with pytest.raises(OptionError) as error:
        _generate(generator_bundle, *output, *arguments)
    assert sentence in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_grid_that_nothing_could_read_again_is_refused_before_it_is_made(tmp_path):
    bundle = write_generator_bundle(tmp_path / "bundle", TinyGenerator(height=512, width=512))
    with pytest.raises(OptionError, match="--grid makes an image of 16384x12288 pixels, which is too large: give a"):
        _generate(bundle, "-o", tmp_path / "out", "--seeds", "0-767", "--grid", "32x99")


def test_a_transparent_image_cannot_be_a_jpeg(tmp_path):
    bundle = write_generator_bundle(tmp_path / "bundle", TinyGenerator(channels=4))
    for output in ("out", "x.jpg"):
        with pytest.raises(OptionError, match="makes transparent images, which a JPEG cannot hold: choose PNG or WebP"):
            _generate(bundle, "-o", tmp_path / output, "--seeds", 1, "--format", "jpg")


def test_a_bundle_that_translates_ends_with_status_2(tiny_bundle, tmp_path):
    command = [sys.executable, "-m", "starcast", "generate", str(tiny_bundle), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 2
    assert done.stderr == f"Error: {tiny_bundle} translates images, and needs a source: use `starcast translate`\n"


@pytest.mark.parametrize("command", [
    ["translate", "BUNDLE", "cat.png", "-o", "out"],
    ["translate", "BUNDLE", "cat.png", "-o", "out.png", "--domain", "dog", "--seed", "7"],
    ["video", "BUNDLE", "cat.gif", "-o", "out.mp4"],
    ["video", "BUNDLE", "cat.gif", "-o", "out.mp4", "--domain", "0", "--ref", "cat.png"],
], ids=["translate", "translate with a style", "video", "video with a style"])  # fmt: skip
def test_commands_that_need_a_source_name_those_that_do_not(generator_bundle, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for name in ("cat.png", "cat.gif"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    arguments = [str(generator_bundle) if part == "BUNDLE" else part for part in command]
    result = CliRunner().invoke(root, arguments, standalone_mode=False)
    assert str(result.exception) == (
        f"{generator_bundle} makes images from styles alone, and takes no source: use `starcast generate`, or "
        "`starcast morph` for a video"
    )
    assert _names(tmp_path) == {"cat.png", "cat.gif"}
