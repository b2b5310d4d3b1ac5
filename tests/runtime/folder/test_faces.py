"""`starcast translate --align`: faces are translated and put back; the rest of the image stays."""

import numpy as np
import pytest
from drawn_sight import FACE, GREY, HEIGHT, SIDE, WIDTH, open_drawn_files, scene
from prepared_images import PreparedImages

from starcast.errors import OptionError
from starcast.images.read import read_image, read_stored
from starcast.images.write import write_image
from starcast.runtime.faces import opening
from starcast.runtime.folder import pipeline
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator


@pytest.fixture(autouse=True)
def drawn_sight(monkeypatch):
    monkeypatch.setattr(opening, "open_face_files", open_drawn_files)


def run(bundle, sources, output, **changes):
    lines = []
    given = {"domain": "dog", "seed": 3, "backend": "onnxruntime", "threads": 1, "align": True, **changes}
    return translate_all(bundle, [sources], TranslateOptions(output=output, **given), progress=lines.append), lines


@pytest.fixture(scope="module")
def offset(tiny_bundle, tiny_model):
    style = tiny_model.latent_style(np.random.RandomState(3).standard_normal(4).astype(np.float32), 1)
    return tiny_model.translation(np.full((1, 1, 1, 3), 128, np.uint8), style)[0, 0, 0].astype(int) - 128


def test_a_face_is_translated_in_an_image_of_its_own_size(tiny_bundle, offset, tmp_path):
    write_image(tmp_path / "in/a.png", scene(60))
    report, _ = run(tiny_bundle, tmp_path / "in", tmp_path / "out")
    assert (report.done, report.failed) == (1, [])
    image = read_image(tmp_path / "out/a.png").astype(int)
    assert image.shape == (HEIGHT, WIDTH, 3)
    # dark enough that the offset is not clipped on either side
    assert np.abs(image[45, 76] - np.clip(FACE + offset, 0, 255)).max() <= 1
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[29 : 31 + SIDE, 59 : 61 + SIDE] = False
    assert np.array_equal(image[outside], np.full((outside.sum(), 3), GREY))


def test_all_faces_are_translated_when_asked_for_and_otherwise_one(tiny_bundle, offset, tmp_path):
    write_image(tmp_path / "in/a.png", scene(10, 110))
    for faces, count in (("largest", 1), ("all", 2)):
        run(tiny_bundle, tmp_path / "in", tmp_path / faces, faces=faces)
        image = read_image(tmp_path / faces / "a.png").astype(int)
        changed = [np.abs(image[45, left + 16] - FACE).max() > 5 for left in (10, 110)]
        assert sum(changed) == count


def test_several_styles_and_sizes_of_image_share_a_batch(tiny_bundle, tiny_model, tmp_path):
    write_image(tmp_path / "in/a.png", scene(60))
    write_image(tmp_path / "in/b.png", np.pad(scene(60), ((0, 40), (0, 9), (0, 0)), constant_values=GREY))
    report, _ = run(tiny_bundle, tmp_path / "in", tmp_path / "out", domain="cat,dog", batch=4)
    assert report.done == 4
    with Translator(tiny_bundle, backend="onnxruntime", threads=1) as translator:
        for domain in ("cat", "dog"):
            expected = tiny_model.translation(
                np.full((1, 1, 1, 3), FACE, np.uint8), translator.style(domain=domain, seed=3)
            )[0, 0, 0]
            for name in "ab":
                paths = (path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png"))
                [path] = [path for path in paths if path.name.startswith(name) and domain in str(path)]
                assert np.abs(read_image(tmp_path / "out" / path)[45, 76].astype(int) - expected).max() <= 1


def test_an_image_without_a_face_is_named_and_the_rest_is_translated(tiny_bundle, tmp_path):
    write_image(tmp_path / "in/a.png", scene(None))
    write_image(tmp_path / "in/b.png", scene(60))
    report, lines = run(tiny_bundle, tmp_path / "in", tmp_path / "out")
    assert report.done == 1
    assert report.failed == lines[:1]
    assert lines[0].startswith("no face was found in ")
    assert lines[0].endswith("a.png: translate it without --align, or leave it out")


def test_alpha_is_kept_at_its_own_size(tiny_bundle, tmp_path):
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:20] = 100
    write_image(tmp_path / "in/a.png", np.dstack([scene(60), alpha]))
    run(tiny_bundle, tmp_path / "in", tmp_path / "out", keep_alpha=True)
    assert np.array_equal(read_stored(tmp_path / "out/a.png").alpha, alpha)


def test_a_second_run_finds_its_translations_and_one_without_align_does_not(tiny_bundle, tmp_path):
    write_image(tmp_path / "in/a.png", scene(60))
    run(tiny_bundle, tmp_path / "in", tmp_path / "out")
    assert run(tiny_bundle, tmp_path / "in", tmp_path / "out")[0].skipped == 1
    for changes in ({"align": False}, {"faces": "all"}):
        with pytest.raises(OptionError, match="--overwrite"):
            run(tiny_bundle, tmp_path / "in", tmp_path / "out", **changes)


def test_fit_and_align_exclude_each_other():
    with pytest.raises(OptionError, match="--align and --fit pad exclude each other"):
        TranslateOptions(align=True, fit="pad")


@pytest.mark.parametrize("batch", [1, 2])
def test_many_faces_of_an_image_are_translated_in_batches(tiny_bundle, tmp_path, monkeypatch, batch):
    sizes, call = [], Translator.__call__

    def counted(self, images, style):
        sizes.append(len(images))
        return call(self, images, style)

    monkeypatch.setattr(Translator, "__call__", counted)
    write_image(tmp_path / "in/a.png", scene(5, 45, 85, 125))
    run(tiny_bundle, tmp_path / "in", tmp_path / "out", faces="all", batch=batch)
    assert sizes == [batch] * (4 // batch)


def test_every_face_keeps_its_own_attributes(label_bundle, tiny_model, tmp_path):
    image = scene(10, 110)
    colours = {10: (60, 200, 60), 110: (60, 60, 200)}  # which the bundle reads as Blond_Hair and Brown_Hair
    for left, colour in colours.items():
        image[30 : 30 + SIDE, left : left + SIDE] = colour
    write_image(tmp_path / "in/a.png", image)
    bundle, changes = label_bundle(reads=True), {"domain": None, "seed": None, "set": ("Male",), "faces": "all"}
    report, lines = run(bundle, tmp_path / "in", tmp_path / "out", **changes)
    assert report.failed == []
    name, changed = tmp_path / "in/a.png", read_image(tmp_path / "out/a.png").astype(int)
    assert {f"{name}, face 1 has Blond_Hair", f"{name}, face 2 has Brown_Hair"} <= set(lines)
    for left, colour, own in zip(colours, colours.values(), (1, 2), strict=True):
        source = np.full((1, 1, 1, 3), colour, np.uint8)
        expected = tiny_model.translation(source, np.eye(8)[own] + np.eye(8)[3])[0, 0, 0].astype(int)
        assert np.abs(changed[45, left + 16] - expected).max() <= 1
    [record] = read_runs(tmp_path / "out/starcast.json")
    assert record["has"] == {f"{name}, face 1": ["Blond_Hair"], f"{name}, face 2": ["Brown_Hair"]}


def test_few_whole_images_are_in_memory_at_once(tiny_bundle, tmp_path, monkeypatch):
    prepared = PreparedImages(monkeypatch)
    for number in range(30):
        write_image(tmp_path / f"in/{number}.png", scene(60))
    report, _ = run(tiny_bundle, tmp_path / "in", tmp_path / "out", batch=4)
    assert report.done == 30
    assert prepared.most <= 4 + pipeline.READERS + 2  # a batch, those that are read, the one in hand, and the next
