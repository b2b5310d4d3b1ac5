from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from starcast.comma_lists import split_commas
from starcast.errors import ImageError, OptionError, StyleError
from starcast.images.write import write_image
from starcast.runtime.record import read_runs
from starcast.runtime.video.morph import morph, requests_for
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.timeline.style_path import alphas, loop

DOMAINS = ("cat", "dog", "wild")
CODING = 5  # grey levels that an encoding and two colour conversions may cost


def options(**changes):
    return MorphOptions(**{"preset": "ultrafast", "crf": 1, "frames_per_step": 5, **changes})


def every_style(styles: np.ndarray, frames: int) -> np.ndarray:
    return np.array([stop.style for stop in loop(styles.astype(np.float32), frames) for _ in range(stop.frames)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.png"
    write_image(path, np.full((32, 32, 3), 128, np.uint8))
    return path


def colours_of(film: Path) -> np.ndarray:
    with av.open(str(film)) as container:
        return np.array([frame.to_ndarray(format="rgb24")[16, 16] for frame in container.decode(video=0)], float)


def test_31_frames_are_those_of_the_official_videos():
    # core/utils.py as the reference describes it: 0, the sigmoid of -5, -4.5, …, 4.5, and ten times 1
    truth = [0.0] + [1 / (1 + np.exp(-(number - 10) / 2)) for number in range(20)] + [1.0] * 10
    np.testing.assert_allclose(alphas(31), truth, rtol=1e-12)


@given(st.integers(3, 500))
def test_any_number_of_frames_rises_from_0_to_1_and_rests(frames):
    seen = alphas(frames)
    assert len(seen) == frames
    assert seen[0] == 0
    assert seen[-1] == 1
    assert (np.diff(seen) >= 0).all()


@given(st.integers(1, 6), st.integers(3, 40))
def test_the_loop_passes_every_style_and_comes_back_to_the_first(count, frames):
    styles = np.random.default_rng(count).standard_normal((count, 8)).astype(np.float32)
    path = every_style(styles, frames)
    assert len(path) == count * frames
    for number in range(count):
        np.testing.assert_array_equal(path[number * frames], styles[number])
    np.testing.assert_array_equal(path[-1], styles[0])


def test_between_two_styles_the_way_is_straight():
    start, end = np.zeros(4), np.array([1.0, 2.0, -4.0, 0.5])
    path = every_style(np.stack([start, end]), 31)[:31]
    np.testing.assert_allclose(path, alphas(31)[:, None] * end, rtol=1e-6)


def test_frames_of_one_style_are_translated_once():
    styles = np.eye(3, 4, dtype=np.float32)
    stops = list(loop(styles, 31))
    assert sum(stop.frames for stop in stops) == 93
    # of 31 frames, the first belongs to the rest before it and ten are the rest: 20 are on the way
    assert len(stops) == 3 * 21 + 1


def test_a_single_style_is_a_still():
    assert [stop.frames for stop in loop(np.ones((1, 4), np.float32), 31)] == [31]


def test_a_loop_through_seeds_shows_each_style(source, tiny_bundle, tiny_model, tmp_path):
    report = morph(tiny_bundle, source, tmp_path / "out.mp4", options(domain="dog", seeds=("1", "2", "3")))
    assert report.frames == 15
    seen = colours_of(tmp_path / "out.mp4")
    for number, seed in enumerate((1, 2, 3)):
        latent = np.random.RandomState(seed).standard_normal(4).astype(np.float32)
        truth = tiny_model.translation(np.full((1, 1, 1, 3), 128, np.uint8), tiny_model.latent_style(latent, 1))[
            0, 0, 0
        ]
        assert np.abs(seen[5 * number] - truth).max() <= CODING
    assert np.abs(seen[-1] - seen[0]).max() <= CODING


@pytest.mark.parametrize(("seeds", "told"), [(("3",), True), (("3", "4"), False)])
def test_a_loop_of_one_style_is_told_to_stand_still(source, tiny_bundle, tmp_path, seeds, told):
    said = []
    asked = options(seeds=seeds, domain="cat", backend="onnxruntime")
    morph(tiny_bundle, [source], tmp_path / "loop.mp4", asked, progress=said.append)
    assert any("one style, so every frame is the same" in line for line in said) is told


def test_references_of_different_domains_may_follow_each_other(source, tiny_bundle, tiny_model, tmp_path):
    images = {name: np.full((32, 32, 3), level, np.uint8) for name, level in (("dog-rex", 240), ("0_tom", 30))}
    for name, image in images.items():
        write_image(tmp_path / f"{name}.png", image)
    refs = tuple(str(tmp_path / f"{name}.png") for name in images)
    morph(tiny_bundle, source, tmp_path / "out.mp4", options(refs=refs))
    seen = colours_of(tmp_path / "out.mp4")
    for number, (domain, image) in enumerate(zip((1, 0), images.values(), strict=True)):
        style = tiny_model.reference_style(image, domain)
        truth = tiny_model.translation(np.full((1, 1, 1, 3), 128, np.uint8), style)[0, 0, 0]
        assert np.abs(seen[5 * number] - truth).max() <= CODING


def test_all_domains_of_a_seed_make_a_tour():
    requests = requests_for(options(domain="all", seeds=("7", "8")), DOMAINS)
    assert [(request.domain, request.seed) for request in requests] == [
        (domain, seed) for seed in (7, 8) for domain in DOMAINS
    ]


@pytest.mark.parametrize(
    ("fps", "step"), [("30", Fraction(1, 30)), ("25", Fraction(1, 25)), ("29.97", Fraction(1001, 30000))]
)
def test_the_rate_is_as_asked(source, tiny_bundle, tmp_path, fps, step):
    morph(tiny_bundle, source, tmp_path / "out.mp4", options(domain="dog", seeds=("1",), fps=fps))
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.pts * Fraction(frame.time_base) for frame in container.decode(video=0)]
    assert times == [number * step for number in range(5)]


def test_a_native_source_gives_the_film_its_size(tiny_bundle, tmp_path):
    write_image(tmp_path / "wide.png", np.full((30, 50, 3), 128, np.uint8))
    morph(
        tiny_bundle, tmp_path / "wide.png", tmp_path / "out.mp4", options(domain="dog", seeds=("1", "2"), fit="native")
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (30, 50)


def test_a_record_beside_the_film_names_its_styles(source, tiny_bundle, tmp_path):
    morph(tiny_bundle, source, tmp_path / "out.mp4", options(domain="wild", seeds=("5", "6"), psi=0.5))
    (run,) = read_runs(tmp_path / "out.mp4.json")
    assert [(style["domain"], style["seed"], style["psi"]) for style in run["styles"]] == [
        ("wild", 5, 0.5),
        ("wild", 6, 0.5),
    ]
    assert run["counts"] == {"frames": 10}


@pytest.mark.parametrize("changes", [{}, {"refs": ("a.png",), "seeds": ("1",)}], ids=["neither", "both"])
def test_references_or_seeds_are_needed_and_not_both(changes):
    with pytest.raises(OptionError, match="give either --refs or --seeds"):
        options(**changes)


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", str(2**32)])
def test_a_seed_that_is_no_seed_is_named(seed):
    with pytest.raises(OptionError, match=f"--seeds has '{seed}'"):
        options(seeds=("1", seed))


def test_nothing_is_written_where_something_is_wrong(source, tiny_bundle, tmp_path):
    target = tmp_path / "out.mp4"
    with pytest.raises(StyleError, match="there is no domain 'lion'"):
        morph(tiny_bundle, source, target, options(domain="lion", seeds=("1",)))
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        morph(tiny_bundle, tmp_path / "none.png", target, options(domain="dog", seeds=("1",)))
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        morph(tiny_bundle, source, target, options(domain="dog", refs=(str(tmp_path / "none.png"),)))
    with pytest.raises(OptionError, match="end its name in"):
        morph(tiny_bundle, source, tmp_path / "out.avi", options(domain="dog", seeds=("1",)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.png"]


def test_an_animated_source_is_named(tiny_bundle, tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    lines: list[str] = []
    made = options(domain="dog", seeds=("1",))
    morph(tiny_bundle, tmp_path / "in.gif", tmp_path / "out.mp4", made, progress=lines.append)
    note = f"{tmp_path / 'in.gif'} is animated, and only the first of its 2 frames is used"
    assert any(note in line for line in lines)


def test_one_damaged_reference_of_several_is_left_out(source, tiny_bundle, tmp_path):
    for number in range(2):
        write_image(tmp_path / f"dog-{number}.png", np.full((32, 32, 3), 99 * number, np.uint8))
    (tmp_path / "dog-2.png").write_bytes(b"\x89PNG")
    refs = tuple(str(tmp_path / f"dog-{number}.png") for number in range(3))
    report = morph(tiny_bundle, source, tmp_path / "out.mp4", options(refs=refs))
    assert report.frames == 2 * 5
    assert "dog-2.png is damaged or cut short" in report.failed[0]


def test_a_reference_with_a_comma_in_its_name_is_meant(tmp_path):
    for name in ("dog,1.png", "cat-2.png"):
        write_image(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    refs = split_commas(f"{tmp_path}/dog,1.png, {tmp_path}/cat-2.png")
    requests = requests_for(options(refs=refs), ("cat", "dog"))
    assert [(request.domain, request.reference) for request in requests] == [
        ("dog", tmp_path / "dog,1.png"), ("cat", tmp_path / "cat-2.png"),
    ]  # fmt: skip
