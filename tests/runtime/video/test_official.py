"""`morph --official`: which image each cell of each frame holds, by the arithmetic of the official videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from starcast.cli import root
from starcast.errors import ImageError, OptionError
from starcast.images.write import write_image
from starcast.runtime.bundle import open_bundle
from starcast.runtime.record import read_runs
from starcast.runtime.style_requests import StyleRequest
from starcast.runtime.translator import Translator
from starcast.runtime.video import official
from starcast.runtime.video.film_record import read_mark
from starcast.runtime.video.morph import morph
from starcast.runtime.video.official import Grid, group_by_domain
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.timeline.style_path import Stop, alphas, count_visits, visits

CODING = 5  # grey levels that an encoding and two colour conversions may cost
SIDE, LEFT = 32, 32 + 32  # of the bundle's images; the strip and its margin
SOURCES = {"a": 40, "b": 128, "c": 200}
REFS = {"dog-1": 240, "cat-1": 30, "dog-2": 90}


def options(**changes) -> MorphOptions:
    return MorphOptions(
        **{"preset": "ultrafast", "crf": 1, "frames_per_step": 5, "official": True, "threads": 1, **changes}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey images: sources in `sources`, references in `refs`."""
    for name, levels in (("sources", SOURCES), ("refs", REFS)):
        for image, level in levels.items():
            path = tmp_path / name / f"{image}.png"
            path.parent.mkdir(exist_ok=True)
            write_image(path, np.full((SIDE, SIDE, 3), level, np.uint8))
    return tmp_path


def frames_of(film: Path) -> np.ndarray:
    with av.open(str(film)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def every_style(styles, groups, frames):
    return [stop for stop in visits(styles, groups, frames) for _ in range(stop.frames)]


def test_a_step_has_the_31_alphas_of_the_official_videos_and_the_last_frame_stands_ten_times_more():
    styles = np.eye(3, 8, dtype=np.float32)
    path = every_style(styles, "ddd", 31)
    assert len(path) == count_visits("ddd", 31) == 2 * 31 + 10
    for number, stop in enumerate(path[:62]):
        alpha = alphas(31)[number % 31]
        start = number // 31
        assert (stop.start, stop.end) == (start, start + 1)
        assert stop.alpha == pytest.approx(alpha)
        np.testing.assert_allclose(stop.style, styles[start] * (1 - alpha) + styles[start + 1] * alpha, rtol=1e-6)
    assert all(stop is path[61] for stop in path[61:])
    np.testing.assert_array_equal(path[-1].style, styles[2])


def test_between_domains_is_a_cut_and_what_is_alone_stands_still_for_a_step():
    path = every_style(np.eye(4, 8, dtype=np.float32), "cddw", 5)
    assert [(stop.start, stop.end) for stop in path] == [(0, 0)] * 5 + [(1, 2)] * 5 + [(3, 3)] * (5 + 2)
    assert all(np.array_equal(stop.style, np.eye(4, 8)[3]) for stop in path[10:])
    assert count_visits("cddw", 5) == len(path)
    assert every_style(np.empty((0, 8), np.float32), "", 5) == []


def test_references_of_one_domain_follow_each_other_in_their_order():
    names = ["dog-1", "cat-1", "dog-2", "wild-1", "cat-2"]
    requests = [StyleRequest(domain=name.partition("-")[0], reference=Path(name)) for name in names]
    ordered = group_by_domain(requests)
    assert [str(request.reference) for request in ordered] == ["dog-1", "dog-2", "cat-1", "cat-2", "wild-1"]


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_the_strip_slides_up_by_the_alpha_of_the_style(tmp_path, alpha):
    paths = []
    for number, level in enumerate((50, 220)):
        paths.append(tmp_path / f"{number}.png")
        ramp = np.full((SIDE, SIDE, 3), level, np.uint8) + np.arange(SIDE, dtype=np.uint8)[:, None, None]
        write_image(paths[-1], ramp)
    requests = [StyleRequest(domain="dog", reference=path) for path in paths]
    sources = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (10, 20)])
    grid = Grid(sources, paths, requests)
    frame = grid.frame(sources + 100, Stop(np.zeros(8, np.float32), 1, 0, 1, alpha))
    assert frame.shape == (2 * SIDE, LEFT + 2 * SIDE, 3)
    assert grid.size == frame.shape[:2]
    strip, black = frame[:, :SIDE], int(SIDE * (1 - alpha))
    both = np.concatenate([np.arange(50, 50 + SIDE), np.arange(220, 220 + SIDE)])
    assert not strip[:black].any()
    np.testing.assert_array_equal(strip[black:, 7, 1], both[: 2 * SIDE - black])
    assert not frame[:, SIDE:LEFT].any()
    for row, levels in enumerate(((10, 20), (110, 120))):
        for column, level in enumerate(levels):
            place = slice(LEFT + column * SIDE, LEFT + (column + 1) * SIDE)
            assert (frame[row * SIDE : (row + 1) * SIDE, place] == level).all()


def test_every_cell_of_every_frame_is_the_image_that_the_official_program_draws(
    folder, tiny_bundle, tiny_model, tmp_path
):
    lines: list[str] = []
    film = tmp_path / "out.mp4"
    made = options(refs=tuple(str(folder / f"refs/{name}.png") for name in REFS), batch=2)
    report = morph(tiny_bundle, [folder / "sources"], film, made, progress=lines.append)
    # dog-1 to dog-2, cat-1 alone, two frames of rest
    assert report.frames == 5 + 5 + 2
    assert "The video shows one domain after the other: dog, cat" in lines
    seen = frames_of(film)
    assert seen.shape == (12, 2 * SIDE, LEFT + 3 * SIDE, 3)
    styles = {
        name: tiny_model.reference_style(np.full((SIDE, SIDE, 3), level, np.uint8), domain)
        for (name, level), domain in zip(REFS.items(), (1, 0, 1), strict=True)
    }
    steps = [("dog-1", "dog-2", alpha) for alpha in alphas(5)] + [("cat-1", "cat-1", 0.0)] * 7
    middle = SIDE // 2
    for frame, (start, end, alpha) in zip(seen, steps, strict=True):
        style = styles[start] * (1 - alpha) + styles[end] * alpha
        for column, level in enumerate(SOURCES.values()):
            place = LEFT + column * SIDE + middle
            truth = tiny_model.translation(np.full((1, 1, 1, 3), level, np.uint8), style)[0, 0, 0]
            assert np.abs(frame[middle, place] - level).max() <= CODING
            assert np.abs(frame[SIDE + middle, place] - truth).max() <= CODING
        # the lower row's last line: the reference itself at the beginning, the next one at the end
        low = REFS[start] if int(SIDE * (1 - alpha)) >= SIDE else REFS[end]
        assert np.abs(frame[-1, middle] - low).max() <= CODING + 3
        top = 0 if int(SIDE * (1 - alpha)) > 1 else REFS[start]
        assert np.abs(frame[1, middle] - top).max() <= CODING + 3


def test_frames_stand_for_two_of_the_rate_and_without_references_there_is_no_strip(folder, tiny_bundle, tmp_path):
    film = tmp_path / "out.mp4"
    made = options(seeds=("1", "2"), domain="cat,dog", fps="30")
    morph(tiny_bundle, [folder / "sources/a.png", folder / "sources/c.png"], film, made)
    with av.open(str(film)) as container:
        frames = list(container.decode(video=0))
        times = [frame.pts * Fraction(frame.time_base) for frame in frames]
        assert not container.streams.audio
    assert times == [Fraction(number, 15) for number in range(5 + 5 + 2)]
    assert (frames[0].height, frames[0].width) == (2 * SIDE, 2 * SIDE)
    (run,) = read_runs(film.with_name("out.mp4.json"))
    assert [(style["domain"], style["seed"]) for style in run["styles"]] == [
        ("cat", 1), ("cat", 2), ("dog", 1), ("dog", 2),
    ]  # fmt: skip
    assert run["sources"] == [str(folder / f"sources/{name}.png") for name in "ac"]


def test_the_same_command_knows_its_film_and_another_source_or_layout_is_another_film(folder, tiny_bundle, tmp_path):
    film, sources = tmp_path / "out.mp4", [folder / "sources/a.png", folder / "sources/b.png"]
    made = options(seeds=("1",), domain="dog")
    morph(tiny_bundle, sources, film, made)
    assert read_mark(film) is not None
    assert morph(tiny_bundle, sources, film, made).is_there_already
    for others in (sources[:1], [*reversed(sources)], [*sources, folder / "sources/c.png"]):
        with pytest.raises(OptionError, match=r"out\.mp4 already exists.*--overwrite"):
            morph(tiny_bundle, others, film, made)
    with pytest.raises(OptionError, match="already exists"):
        morph(tiny_bundle, sources[0], film, options(seeds=("1",), domain="dog", official=False))
    with pytest.raises(OptionError, match=r"out\.mp4 is the source itself"):
        morph(tiny_bundle, [*sources, film], film, made)


def test_one_damaged_image_of_several_is_left_out_and_none_is_an_error(folder, tiny_bundle, tmp_path):
    (folder / "sources/b.png").write_bytes(b"\x89PNG")
    made = options(seeds=("1",), domain="dog")
    report = morph(tiny_bundle, [folder / "sources"], tmp_path / "out.mp4", made)
    assert "b.png is damaged or cut short" in report.failed[0]
    assert report.failed[0].endswith("the other images are shown")
    assert frames_of(tmp_path / "out.mp4").shape == (7, 2 * SIDE, 2 * SIDE, 3)
    with pytest.raises(ImageError, match=r"b\.png is damaged"):
        morph(tiny_bundle, [folder / "sources/b.png"], tmp_path / "other.mp4", made)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="no images in .*empty: check the path"):
        morph(tiny_bundle, [tmp_path / "empty"], tmp_path / "other.mp4", made)
    assert not (tmp_path / "other.mp4").exists()


def test_each_source_is_translated_once_for_each_style(folder, tiny_bundle, tmp_path, monkeypatch):
    batches = []
    call = Translator.__call__

    def count(self, images, style):
        batches.append(len(images))
        return call(self, images, style)

    monkeypatch.setattr(Translator, "__call__", count)
    made = options(seeds=("1", "2"), domain="dog", frames_per_step=31, batch=4, backend="onnxruntime")
    morph(tiny_bundle, [folder / "sources"], tmp_path / "out.mp4", made)
    # 31 frames: alpha 0, twenty on the way, ten of alpha 1, which are one style
    assert sum(batches) == 3 * 22
    assert max(batches) <= 4


def test_what_the_layout_cannot_show_is_refused(folder, tiny_bundle, generator_bundle, label_bundle, monkeypatch):
    film, sources = folder / "out.mp4", [folder / "sources"]
    monkeypatch.setattr(official, "LONGEST_SIDE", 100)
    with pytest.raises(OptionError, match=r"3 images make frames of 160x64 pixels.*at most 1 of them"):
        morph(tiny_bundle, sources, film, options(refs=(str(folder / "refs"),)))
    with pytest.raises(OptionError, match="leave out --fit native"):
        options(seeds=("1",), fit="native")
    with pytest.raises(OptionError, match="from styles alone: leave out --official"):
        morph(generator_bundle, None, film, options(seeds=("1",)))
    with pytest.raises(OptionError, match="steered by labels: leave out --official"):
        morph(label_bundle(), sources, film, options(domain="Male"))
    with pytest.raises(OptionError, match="2 are given: leave out all but one, or add --official"):
        morph(tiny_bundle, [film, film], film.with_name("o.mp4"), options(seeds=("1",), official=False))
    assert open_bundle(tiny_bundle)
    assert not film.exists()


@pytest.mark.parametrize(("sources", "name"), [
    (["sources/a.png"], "a.mp4"), (["sources"], "sources.mp4"), (["sources/*.png"], "video.mp4"),
    (["sources/a.png", "sources/b.png"], "video.mp4"),
])  # fmt: skip
def test_a_folder_gets_a_film_named_after_a_single_source(folder, tiny_bundle, monkeypatch, sources, name):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        "starcast.runtime.video.morph.morph", lambda bundle, given, target, *_, **__: made.append(target)
    )
    made: list[Path] = []
    CliRunner().invoke(root, ["morph", str(tiny_bundle), *sources, "-o", "films/", "--seeds", "1", "--official"])
    assert made == [Path("films", name)]
