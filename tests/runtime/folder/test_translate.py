from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import odd_images
import pytest
from PIL import Image
from prepared_images import PreparedImages

from starcast.errors import EngineError, ImageError, OptionError
from starcast.images.mark import read_mark
from starcast.images.read import read_image, read_stored
from starcast.images.write import write_image
from starcast.runtime.bundle import open_bundle
from starcast.runtime.folder import translate as folders
from starcast.runtime.folder import write_output
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.manifest import Condition, LabelMaker
from starcast.runtime.marks import hash_edges, parse_mark
from starcast.runtime.options import TranslateOptions
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator


def _draw_image(seed: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _photos(folder: Path, count: int) -> Path:
    for number in range(count):
        write_image(folder / f"{number:03}.png", _draw_image(number))
    return folder


def _latent(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(4).astype(np.float32)


def _translate(bundle: Path, *sources: Path, **options: object):
    lines: list[str] = []
    options = {"domain": "dog", "backend": "onnxruntime", "threads": 1, **options}
    report = translate_all(bundle, sources, TranslateOptions(**options), progress=lines.append)
    return report, lines


def _modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


@contextmanager
def _stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> Iterator[None]:
    """Translators raise `error` when they are called for the `number`th time."""
    calls, call = itertools.count(1), Translator.__call__

    def call_or_stop(self: Translator, images: np.ndarray, style: np.ndarray) -> np.ndarray:
        if next(calls) == number:
            raise error
        return call(self, images, style)

    with monkeypatch.context() as patched:
        patched.setattr(Translator, "__call__", call_or_stop)
        yield


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_every_image_of_a_folder_is_translated_in_batches_of_any_size(tmp_path, tiny_bundle, tiny_model, batch):
    photos = _photos(tmp_path / "in/deep", 7).parent
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out", seed=7, batch=batch)
    assert (report.done, report.skipped, report.failed, lines) == (7, 0, [], [])
    for number in range(7):
        expected = tiny_model.translation(_draw_image(number)[None], tiny_model.latent_style(_latent(7), 1))[0]
        np.testing.assert_array_equal(read_image(tmp_path / f"out/deep/{number:03}.png"), expected)


def test_native_images_keep_their_size_and_batches_are_of_one_size(tmp_path, tiny_bundle, tiny_model, monkeypatch):
    shapes = [(32, 32), (32, 32), (17, 50), (18, 50), (1, 1), (1, 1), (32, 32)]
    images = [np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8) for n, shape in enumerate(shapes)]
    for number, image in enumerate(images):
        write_image(tmp_path / f"in/{number}.png", image)
    seen: list[tuple[int, ...]] = []
    translating = Translator.__call__

    def noted(self, images, style):
        seen.append(images.shape[:3])
        return translating(self, images, style)

    monkeypatch.setattr(Translator, "__call__", noted)
    report, _ = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out", seed=7, batch=4, fit="native")
    assert report.done == 7
    assert seen == [(2, 32, 32), (1, 17, 50), (1, 18, 50), (2, 1, 1), (1, 32, 32)]
    style = tiny_model.latent_style(_latent(7), 1)
    for number, image in enumerate(images):
        expected = tiny_model.translation(image[None], style)[0]
        np.testing.assert_array_equal(read_image(tmp_path / f"out/{number}.png"), expected)
    report, _ = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out", seed=7, batch=4, fit="native")
    assert (report.done, report.skipped) == (0, 7)


def test_an_image_too_large_for_the_memory_is_named_and_the_rest_goes_on(tmp_path, tiny_bundle, rewrite_manifest):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    [variant] = open_bundle(tiny_bundle).manifest.variants
    rewrite_manifest(bundle, variants=(msgspec.structs.replace(variant, working=2**20),))
    write_image(tmp_path / "in/large.png", np.zeros((320, 400, 3), np.uint8))
    write_image(tmp_path / "in/small.png", _draw_image(0))
    report, lines = _translate(bundle, tmp_path / "in", output=tmp_path / "out", fit="native", memory=0.1)
    assert report.done == 1
    assert "large.png has 400x320 pixels: translating it takes about 0.3 GiB of memory" in lines[0]
    assert lines == report.failed


def test_a_large_native_jpeg_is_decoded_whole(tmp_path, tiny_bundle):
    write_image(tmp_path / "in/large.jpg", np.zeros((300, 400, 3), np.uint8))
    _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out", fit="native")
    assert read_image(tmp_path / "out/large.png").shape == (300, 400, 3)


def test_several_styles_have_a_folder_each_and_every_source_is_read_once(
    tmp_path, tiny_bundle, tiny_model, monkeypatch
):
    photos = _photos(tmp_path / "in", 3)
    read: list[str] = []

    def counted(path, **settings):
        read.append(Path(path).name)
        return read_stored(path, **settings)

    monkeypatch.setattr("starcast.runtime.folder.read_source.read_stored", counted)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", domain="all", seed=3, batch=2)
    assert report.done == 9
    assert sorted(read) == ["000.png", "001.png", "002.png"]
    styles = sorted(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert len(styles) == 3
    for number, style in enumerate(styles):
        expected = tiny_model.translation(_draw_image(2)[None], tiny_model.latent_style(_latent(3), number))[0]
        np.testing.assert_array_equal(read_image(style / "002.png"), expected)


def test_one_unreadable_image_is_named_and_the_rest_is_translated(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 3)
    (photos / "001.png").write_bytes((photos / "001.png").read_bytes()[:100])
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    assert report.done == 2
    assert len(report.failed) == 1
    assert lines == report.failed
    assert "001.png is damaged" in lines[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "002.png", "starcast.json"]


def test_a_folder_of_odd_and_hostile_files_gives_a_sentence_or_an_upright_image_for_each(
    tmp_path, tiny_bundle, tiny_model
):
    readable, unreadable = odd_images.readable(), odd_images.unreadable()
    odd_images.make(tmp_path / "in", {name: content for name, (content, _, _) in readable.items()})
    odd_images.make(tmp_path / "in", {name: content for name, (content, _) in unreadable.items()})
    (tmp_path / "in/folder.png").mkdir()
    if os.name != "nt":
        os.mkfifo(tmp_path / "in/pipe.png")
        (tmp_path / "in/broken.png").symlink_to("nowhere")
        (tmp_path / "in/line\nbreak.png").write_bytes(b"")
        unreadable = {**unreadable, "pipe.png": 0, "broken.png": 0, "line\\nbreak.png": 0}
    report, lines = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    assert report.done == len(readable)
    remarks = [line for line in lines if line not in report.failed]
    several = [name for name in readable if name.startswith(("moving", "pages"))]
    assert [len([line for line in remarks if name in line and "only the" in line]) for name in several] == [1] * 5
    broken = f"{tmp_path / 'in/exif-broken.jpg'}: translated without its EXIF, which is damaged"
    assert len(remarks) == len([*several, broken])
    assert broken in remarks
    assert all(line.isprintable() for line in lines)
    assert sorted(name for name in unreadable if not any(name in line for line in report.failed)) == []
    assert len(report.failed) == len(unreadable)
    written = [path for path in (tmp_path / "out").iterdir() if path.name != "starcast.json"]
    assert len(written) == len(readable)
    assert not [path for path in written if path.name.startswith(".")]
    style = tiny_model.latent_style(_latent(0), 1)
    for orientation in range(1, 9):
        stored = np.asarray(Image.fromarray(odd_images.scene()).resize((32, 32), Image.Resampling.BILINEAR))
        expected = tiny_model.translation(stored[None], style)[0]
        np.testing.assert_array_equal(read_image(tmp_path / f"out/turned-{orientation}.png.png"), expected)


def test_a_second_start_makes_only_what_is_missing_or_damaged(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 4)
    out = tmp_path / "out"
    _translate(tiny_bundle, photos, output=out)
    (out / "000.png").unlink()
    (out / "001.png").write_bytes((out / "001.png").read_bytes()[:-40])
    before = _modified(out)
    report, _ = _translate(tiny_bundle, photos, output=out)
    assert (report.done, report.skipped) == (2, 2)
    after = _modified(out)
    assert [name for name in ("002.png", "003.png") if before[name] != after[name]] == []

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("an engine was started for nothing")

    monkeypatch.setattr(folders, "Translator", unexpected)
    report, _ = _translate(tiny_bundle, photos, output=out)
    assert (report.done, report.skipped) == (0, 4)


@pytest.mark.parametrize("change", [{"seed": 8}, {"domain": "cat"}, {"psi": 0.5}, {"fit": "crop"}])
def test_whole_images_of_another_origin_are_not_overwritten_unless_asked(tmp_path, tiny_bundle, change):
    photos = _photos(tmp_path / "in", 2)
    out = tmp_path / "out"
    _translate(tiny_bundle, photos, output=out)
    before = _modified(out)
    with pytest.raises(OptionError, match=r"000\.png already exists, made with .* \(the first of 2\).*--overwrite"):
        _translate(tiny_bundle, photos, output=out, **change)
    assert _modified(out) == before
    report, _ = _translate(tiny_bundle, photos, output=out, overwrite=True, **change)
    assert (report.done, report.skipped) == (2, 0)


def test_another_source_of_the_same_name_does_not_count_as_done(tmp_path, tiny_bundle):
    _translate(tiny_bundle, _photos(tmp_path / "in", 1), output=tmp_path / "out")
    write_image(tmp_path / "other/000.png", _draw_image(99))
    with pytest.raises(OptionError, match="made with a different source, bundle, style or options"):
        _translate(tiny_bundle, tmp_path / "other", output=tmp_path / "out")


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "png"])
def test_a_source_that_was_edited_in_its_middle_is_translated_again(tmp_path, tiny_bundle, suffix):
    (tmp_path / "in").mkdir()
    image = np.zeros((400, 400, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / f"in/frame.{suffix}")
    _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    before = read_image(tmp_path / "out/frame.png")
    image[180:220] = 255, 0, 0
    Image.fromarray(image).save(tmp_path / f"in/frame.{suffix}")
    report, lines = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    assert (report.done, report.skipped) == (1, 0)
    assert lines == [f"{tmp_path}/in/frame.{suffix} was edited since the last translation: translated again"]
    assert (read_image(tmp_path / "out/frame.png") != before).any()


@pytest.mark.parametrize(
    "content", [b"\0\0\0\x18ftypheic" + bytes(100), b"my notes", b""], ids=["HEIC", "text", "empty"]
)
def test_a_file_that_is_not_an_image_is_not_overwritten_unless_asked(tmp_path, tiny_bundle, content):
    photos = _photos(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/001.png").write_bytes(content)
    with pytest.raises(OptionError, match=r"001\.png already exists, not written by starcast: choose another"):
        _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert (tmp_path / "out/001.png").read_bytes() == content
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["001.png"]
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", overwrite=True)
    assert report.done == 2


@pytest.mark.skipif(os.name == "nt", reason="pipes are Unix's")
def test_a_pipe_in_the_way_is_replaced_in_no_case(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out/000.png")
    with pytest.raises(OptionError, match=r"000\.png.*not written by starcast"):
        _translate(tiny_bundle, photos, output=tmp_path / "out")
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out", overwrite=True)
    assert report.done == 1
    assert lines == [f"{tmp_path}/out/000.png is in the way (a pipe, a socket or a device): move it away, "
                     "or choose another -o"]  # fmt: skip
    assert (tmp_path / "out/000.png").is_fifo()


def test_a_translation_of_an_earlier_version_counts_as_done(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 1)
    _translate(tiny_bundle, photos, output=tmp_path / "out")
    mark = parse_mark(read_mark(tmp_path / "out/000.png"))
    old = f"starcast settings={mark.settings} source={hash_edges(photos / '000.png')}"
    write_image(tmp_path / "out/000.png", read_image(tmp_path / "out/000.png"), mark=old)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert (report.done, report.skipped) == (0, 1)


def test_a_source_that_changes_while_it_is_read_is_named(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 2)

    def read_and_edit(path, **settings):
        image = read_stored(path, **settings)
        if path.name == "000.png":
            write_image(path, _draw_image(9))
        return image

    monkeypatch.setattr("starcast.runtime.folder.read_source.read_stored", read_and_edit)
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert report.done == 1
    assert lines == [f"{photos / '000.png'} changed while it was read: run the command again"]


def test_an_interrupted_overwriting_goes_on_where_it_was_and_a_finished_one_begins_again(
    tmp_path, tiny_bundle, monkeypatch
):
    photos = _photos(tmp_path / "in", 6)
    overwriting = {"output": tmp_path / "out", "batch": 2, "overwrite": True}
    _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    with _stop_at(monkeypatch, 2, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        _translate(tiny_bundle, photos, **overwriting)
    with _stop_at(monkeypatch, 2, EngineError("stopped again")), pytest.raises(EngineError):
        _translate(tiny_bundle, photos, **overwriting)
    assert [_translate(tiny_bundle, photos, **overwriting)[0].done for _ in range(2)] == [2, 6]


def test_an_interrupted_overwriting_with_other_settings_begins_again(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 4)
    with _stop_at(monkeypatch, 2, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2, overwrite=True)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2, overwrite=True, seed=5)
    assert (report.done, report.skipped) == (4, 0)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2, overwrite=True)
    assert (report.done, report.skipped) == (4, 0)


def test_a_copied_bundle_and_another_batch_or_engine_thread_count_change_nothing(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 2)
    copied = shutil.copytree(tiny_bundle, tmp_path / "copied")
    _translate(tiny_bundle, photos, output=tmp_path / "out")
    report, _ = _translate(copied, photos, output=tmp_path / "out", batch=1, threads=2)
    assert report.skipped == 2


def test_an_output_with_an_image_suffix_is_that_file_with_its_record_beside(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 1)
    report, _ = _translate(tiny_bundle, photos / "000.png", output=tmp_path / "new/cat.webp")
    assert report.done == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["cat.webp", "cat.webp.json"]


def test_the_source_folder_is_never_the_output_folder(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 1)
    before = (photos / "000.png").read_bytes()
    for source in (photos, photos / "000.png"):
        with pytest.raises(OptionError, match="is a source"):
            _translate(tiny_bundle, source, output=photos, overwrite=True)
    assert (photos / "000.png").read_bytes() == before


def test_an_output_folder_inside_the_source_folder_is_not_translated_again(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 2)
    for _ in range(2):
        report, _ = _translate(tiny_bundle, photos, output=photos / "out")
    assert (report.done, report.skipped) == (0, 2)


@pytest.mark.parametrize("name", ["nothing", "nothing/*.png"])
def test_sources_that_are_not_there_are_reported(tmp_path, tiny_bundle, name):
    photos = _photos(tmp_path / "in", 1)
    report, lines = _translate(tiny_bundle, tmp_path / name, photos, output=tmp_path / "out")
    assert report.done == 1
    assert len(report.failed) == 1
    assert "nothing" in lines[0]


def test_no_image_at_all_is_wrong_use(tmp_path, tiny_bundle):
    (tmp_path / "in").mkdir()
    with pytest.raises(OptionError, match="no images in"):
        _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_images_are_named_and_do_no_harm(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 1)
    for number in range(13):
        (photos / f"note-{number:02}.md").write_text("x")
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert report.failed == []
    assert lines[0].endswith("note-00.md is not an image: skipped")
    assert lines[10:] == ["3 more files are not images: skipped"]


def test_the_folder_of_an_earlier_run_among_the_sources_is_not_translated(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "ph", 2)
    _translate(tiny_bundle, photos, output=photos / "dog")
    report, lines = _translate(tiny_bundle, photos, output=photos / "cat", domain="cat")
    assert (report.done, report.failed) == (2, [])
    assert lines == [f"{photos / 'dog/000.png'} and 1 more are translations that starcast made: skipped (name a file "
                     "to translate it again)"]  # fmt: skip
    assert sorted(path.name for path in (photos / "cat").iterdir()) == ["000.png", "001.png", "starcast.json"]
    with pytest.raises(OptionError, match="only translations that starcast made: name the files"):
        _translate(tiny_bundle, photos / "dog", output=tmp_path / "again")
    report, _ = _translate(tiny_bundle, *(photos / "dog").glob("*.png"), output=tmp_path / "again")
    assert report.done == 2


def test_an_image_beside_a_folder_of_its_translations_name_is_translated(tmp_path, tiny_bundle):
    write_image(tmp_path / "in/x.png/inside.png", _draw_image(0))
    write_image(tmp_path / "in/x.jpg", _draw_image(1))
    report, _ = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    assert (report.done, report.failed) == (2, [])
    assert (tmp_path / "out/x.png/inside.png").is_file()
    assert (tmp_path / "out/x.jpg.png").is_file()


def test_a_second_start_into_the_same_folder_is_refused_while_the_first_runs(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 4)
    refusals = []
    call = Translator.__call__

    def start_another(self, images, style):
        with (
            ThreadPoolExecutor() as other,
            pytest.raises(OptionError, match="out is being written by another starcast"),
        ):
            other.submit(_translate, tiny_bundle, photos, output=tmp_path / "out", seed=2).result()
        refusals.append(1)
        return call(self, images, style)

    monkeypatch.setattr(Translator, "__call__", start_another)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", seed=1, batch=4)
    assert (report.done, refusals) == (4, [1])
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[-1] == "starcast.json"
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_a_file_that_another_program_wrote_in_the_meantime_stays(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 2)
    call = Translator.__call__

    def write_another(self, images, style):
        (tmp_path / "out/001.png").write_text("mine")
        return call(self, images, style)

    monkeypatch.setattr(Translator, "__call__", write_another)
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    assert report.done == 1
    assert "001.png already exists, written by another program in the meantime: choose another -o" in lines[0]
    assert (tmp_path / "out/001.png").read_text() == "mine"


def test_the_record_says_what_the_images_were_made_with(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 2)
    reference = tmp_path / "rex.png"
    write_image(reference, _draw_image(50))
    _translate(tiny_bundle, photos, output=tmp_path / "out", ref=reference)
    (run,) = json.loads((tmp_path / "out/starcast.json").read_text(encoding="utf-8"))["runs"]
    assert run["bundle"]["sha256"] == open_bundle(tiny_bundle).sha256
    assert run["counts"] == {"translated": 2, "there_already": 0, "failed": 0}
    assert run["engine"]["name"] == "onnxruntime"
    assert run["styles"][0]["reference"] == str(reference)
    assert len(run["styles"][0]["sha256"]) == 64
    assert run["sources"] == [str(photos)]
    assert run["options"]["fit"] == "stretch"


@pytest.mark.parametrize(("output", "record"), [("out", "out/starcast.json"), ("cat.png", "cat.png.json")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_record_that_is_not_ours_is_refused_before_the_work(tmp_path, tiny_bundle, output, record, overwrite):
    [photo] = _photos(tmp_path / "in", 1).iterdir()
    (tmp_path / record).parent.mkdir(exist_ok=True)
    (tmp_path / record).write_text('{"geoData": 1}')
    with pytest.raises(
        OptionError, match=rf"{Path(record).name} is in the way of this run's record \(not written by starcast\)"
    ):
        _translate(tiny_bundle, photo, output=tmp_path / output, overwrite=overwrite)
    assert (tmp_path / record).read_text() == '{"geoData": 1}'
    assert list(tmp_path.rglob("*.png")) == [photo]


def test_an_engine_that_fails_keeps_what_was_done_and_the_next_start_goes_on(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 6)
    with _stop_at(monkeypatch, 3, EngineError("the engine gave up: start again")), pytest.raises(EngineError):
        _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    assert (report.done, report.skipped) == (2, 4)


def test_an_interrupted_start_leaves_no_half_file(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 8)
    with _stop_at(monkeypatch, 2, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000.png", "001.png", "starcast.json"]
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert (report.done, report.skipped) == (6, 2)


def test_a_full_disk_stops_the_start_at_once(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 40)

    def full(path, image, **_: object) -> None:
        error = ImageError(f"{path} cannot be written (no space left on device): free the place")
        raise error from OSError(28, "No space left on device")

    monkeypatch.setattr(write_output, "write_image", full)
    with pytest.raises(ImageError, match="no space left"):
        _translate(tiny_bundle, photos, output=tmp_path / "out", batch=1)


def test_one_place_that_cannot_be_written_to_is_a_failure_of_that_image(tmp_path, tiny_bundle):
    photos = _photos(tmp_path / "in", 2)
    (tmp_path / "out/000.png/x").mkdir(parents=True)
    report, lines = _translate(tiny_bundle, photos, output=tmp_path / "out")
    assert report.done == 1
    assert "000.png is in the way (a folder): move it away" in lines[0]


def test_the_summary_counts_and_times_each_stage(tmp_path, tiny_bundle):
    report, _ = _translate(tiny_bundle, _photos(tmp_path / "in", 3), output=tmp_path / "out")
    first, second = report.summary().splitlines()
    assert first == "3 translated, 0 there already, 0 failed."
    assert all(stage in second for stage in ("read", "fit", "run", "write", "images/s"))
    assert all(ms > 0 for ms in report.stage_ms().values())


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, tiny_bundle, monkeypatch):
    photos = _photos(tmp_path / "in", 60)
    prepared = PreparedImages(monkeypatch)
    report, _ = _translate(tiny_bundle, photos, output=tmp_path / "out", batch=2)
    assert report.done == 60
    assert prepared.most <= 16


def test_a_bundle_of_labels_translates_into_a_domain_by_its_label(tmp_path, tiny_bundle, tiny_model, rewrite_manifest):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    names = ("cat", "dog", "wild", "a", "b", "c", "d", "e")
    rewrite_manifest(bundle, condition=Condition(size=8, labels=LabelMaker(names=names, classes=len(names))))
    sources = _photos(tmp_path / "in", 1)
    _translate(bundle, sources, output=tmp_path / "out", domain="dog")
    [source], [made] = sources.iterdir(), (tmp_path / "out").glob("*.png")
    style = np.eye(8)[1]
    np.testing.assert_array_equal(read_image(made), tiny_model.translation(read_image(source)[None], style)[0])


def test_an_animated_source_and_reference_are_named_once_each(tmp_path, tiny_bundle):
    frames = [Image.fromarray(_draw_image(number)) for number in range(3)]
    for name in ("source.gif", "dog-reference.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    report, lines = _translate(
        tiny_bundle, tmp_path / "source.gif", output=tmp_path / "out", domain="all", ref=tmp_path / "dog-reference.webp"
    )
    assert (report.done, report.failed) == (3, [])
    assert lines == [
        f"{tmp_path / name} is animated, and only the first of its 3 frames is used (`starcast video` takes all)"
        for name in ("dog-reference.webp", "source.gif")
    ]


def test_one_damaged_reference_of_several_is_left_out(tmp_path, tiny_bundle):
    (photo,) = _photos(tmp_path / "in", 1).iterdir()
    refs = _photos(tmp_path / "refs", 2)
    (refs / "002.png").write_bytes((refs / "000.png").read_bytes()[:-200])
    report, lines = _translate(tiny_bundle, photo, output=tmp_path / "out", ref=refs)
    assert (report.done, len(report.failed)) == (2, 1)
    assert lines == report.failed
    assert "002.png is damaged or cut short" in lines[0]
    assert lines[0].endswith("; the other references are used")
    (run,) = read_runs(tmp_path / "out/starcast.json")
    assert [style["label"] for style in run["styles"]] == ["dog-000", "dog-001"]


def test_if_every_reference_is_damaged_nothing_is_written(tmp_path, tiny_bundle):
    refs = _photos(tmp_path / "refs", 2)
    for ref in refs.iterdir():
        ref.write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match="000.png is damaged"):
        _translate(tiny_bundle, _photos(tmp_path / "in", 1), output=tmp_path / "out", ref=refs)
    assert not (tmp_path / "out").exists()
