"""Films whose style changes over time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from starcast.errors import ImageError, OptionError, StyleError
from starcast.images.write import write_image
from starcast.runtime.record import read_runs
from starcast.runtime.video.film_record import read_mark
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.restart.memory import restore
from starcast.runtime.video.timeline.course import FilmStyles, place_keys, spread_keys
from starcast.runtime.video.timeline.key_times import parse_time
from starcast.runtime.video.translate import translate_video

CODING = 3  # grey levels that two encodings and two colour conversions may cost
GREY = np.full((32, 32, 3), 128, np.uint8)
CLIP = {"frames": 10, "images": [GREY] * 10, "width": 32, "height": 32, "rate": Fraction(10)}  # one second


def options(**changes):
    return VideoOptions(**{"preset": "ultrafast", "crf": 1, "batch": 4, **changes})


def make_film(bundle, clip, target, **changes):
    """(report, lines)"""
    lines: list[str] = []
    return translate_video(bundle, clip, target, options(**changes), progress=lines.append), lines


@pytest.fixture
def colours(make_clip, watch, tiny_bundle, tmp_path):
    """colours(style_keys=…): what the film adds to the middle of each frame, RGB."""

    def make(clip=CLIP, **changes):
        make_film(tiny_bundle, make_clip("in.mp4", **clip), tmp_path / "out.mp4", overwrite=True, **changes)
        return np.array([pixel.astype(float) - 128 for pixel in watch(tmp_path / "out.mp4").middle])

    return make


@pytest.mark.parametrize("batch", [1, 4, 20])
def test_a_frames_style_is_that_of_its_own_time(colours, offset_of, batch):
    # uneven times: the style follows the time, not the number
    uneven = [0, 1, 2, 5, 8, 10, 11, 15, 16, 20]  # tenths of a second
    clip = {**CLIP, "pts": uneven, "time_base": Fraction(1, 10)}
    seen = colours(clip, batch=batch, style_keys="0 dog seed=3 linear; 1s cat seed=4 hold; 1.5 wild seed=5")
    dog, cat, wild = (offset_of(*style) for style in (("dog", 3), ("cat", 4), ("wild", 5)))
    for colour, tenths in zip(seen, uneven, strict=True):
        truth = dog + (cat - dog) * tenths / 10 if tenths < 10 else cat if tenths < 15 else wild
        assert np.abs(colour - truth).max() <= CODING


def test_frames_parts_and_clocks_mean_the_same_times(colours):
    first = colours(style_keys="0 dog seed=3 linear; 0.5 cat seed=4; 1 wild seed=5")
    second = colours(style_keys="100% wild seed=5; 0f dog seed=3 linear; 5f cat seed=4")
    third = colours(style_keys="0:00 dog seed=3 linear; 50%: cat seed=4; 00:00:01.0 wild seed=5")
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(third, first)


def test_one_key_is_the_still_style(colours):
    np.testing.assert_array_equal(colours(style_keys="0.7 dog seed=3 psi=0.5"), colours(domain="dog", seed=3, psi=0.5))


def test_domain_and_psi_are_those_of_keys_that_state_none(colours):
    given = colours(style_keys="0 seed=3; 1 cat seed=3 psi=1", domain="dog", psi=0.5)
    np.testing.assert_array_equal(given, colours(style_keys="0 dog seed=3 psi=0.5; 1 cat seed=3"))


def test_seeds_and_references_are_spread_over_the_film(colours, offset_of, tmp_path):
    seen = colours({**CLIP, "frames": 9, "images": [GREY] * 9}, domain="dog", seeds=("1-3",), frames_per_step=4)
    for number, seed in ((0, 1), (4, 2), (8, 3)):
        assert np.abs(seen[number] - offset_of("dog", seed)).max() <= CODING
    whole = colours(domain="dog", seeds=("1", "2"))
    assert np.abs(whole[0] - offset_of("dog", 1)).max() <= CODING
    assert np.abs(whole[5] - (offset_of("dog", 1) + offset_of("dog", 2)) / 2).max() <= CODING
    for name, level in (("dog-a", 0), ("dog-b", 255)):
        write_image(tmp_path / "refs" / f"{name}.png", np.full((32, 32, 3), level, np.uint8))
    folder = colours(refs=(str(tmp_path / "refs"),))
    a, b = tmp_path / "refs/dog-a.png", tmp_path / "refs/dog-b.png"
    np.testing.assert_array_equal(folder, colours(style_keys=f"0 ref='{a}'; 100% ref='{b}'"))


def test_a_loop_comes_back_to_its_first_style(colours, offset_of):
    # halfway back from the second style to the first, as far as halfway there
    seen = colours(domain="dog", seeds=("1", "2"), loop=True)
    np.testing.assert_allclose(seen[6:], seen[4:0:-1], atol=1)
    assert np.abs(seen[5] - offset_of("dog", 2)).max() <= CODING
    keyed = colours(style_keys="0 dog seed=1; 50% dog seed=2", loop=True)
    np.testing.assert_array_equal(keyed, seen)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"style_keys": "0 dog seed=1", "seed": 3}, "--seed and --style-keys exclude each other"),
        ({"style_keys": "0 dog seed=1", "seeds": ("1",)}, "--style-keys and --seeds exclude each other"),
        ({"refs": ("a.jpg",), "set": ("A",)}, "--set and --refs exclude each other"),
        ({"loop": True}, "--loop is for several styles"),
        ({"frames_per_step": 4}, "--frames-per-step is for --refs and --seeds"),
        ({"style_keys": "dog"}, "a key begins with its time"),
        ({"seeds": ("x",)}, "--seeds has 'x'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes, reason):
    with pytest.raises(OptionError, match=reason):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"style_keys": "0 lion"}, StyleError, "--style-keys at 0: there is no domain 'lion'"),
        ({"style_keys": "0 seed=3"}, StyleError, "--style-keys at 0: say which domain"),
        ({"style_keys": "0 all seed=3"}, OptionError, "--style-keys at 0: 3 styles at once"),
        ({"style_keys": "0 dog set=Male"}, OptionError, "--style-keys at 0: --domain and --set exclude each other"),
        ({"style_keys": "0 dog; 10f cat; 1.0 cat"}, OptionError, r"two keys at the same time \(10f and 1.0\)"),
        ({"style_keys": "0 dog; 1 cat", "loop": True}, OptionError, r"a key at the end of the loop \(1\)"),
        ({"style_keys": "0 dog; 1 cat ref=none.png"}, ImageError, "none.png does not exist"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused_before_the_engine_opens(
    make_clip, tiny_bundle, tmp_path, monkeypatch, changes, kind, reason
):
    monkeypatch.setattr("starcast.runtime.video.film_maker.Translator", None)
    clip = make_clip("in.mp4", **CLIP)
    with pytest.raises(kind, match=reason):
        make_film(tiny_bundle, clip, tmp_path / "out.mp4", **changes)
    assert not (tmp_path / "out.mp4").exists()


def test_a_key_after_the_end_is_named(make_clip, tiny_bundle, tmp_path):
    clip = make_clip("in.mp4", **CLIP)
    report, lines = make_film(tiny_bundle, clip, tmp_path / "out.mp4", style_keys="0 dog; 9 cat")
    note = "the key at 9 s lies after the end of the video, at 1 s: the style is still on its way then"
    assert note in report.notes
    assert lines.count(note) == 1


def test_a_film_is_known_by_its_keys_however_they_were_given(make_clip, tiny_bundle, tmp_path):
    clip, target, ref = make_clip("in.mp4", **CLIP), tmp_path / "out.mp4", tmp_path / "a.png"
    write_image(ref, GREY)
    make_film(tiny_bundle, clip, target, style_keys=f"0 dog seed=3; 0.5 cat ref='{ref}' hold")
    [run] = read_runs(target.with_name("out.mp4.json"))
    assert [(style["at"], style["ease"]) for style in run["styles"]] == [("0", "smooth"), ("0.5", "hold")]
    assert len(run["styles"][1]["sha256"]) == 64
    (tmp_path / "keys.yaml").write_text(
        "- {time: 0, domain: dog, seed: 3}\n- {time: 0.5, domain: cat, ref: a.png, ease: hold}"
    )
    report, _ = make_film(tiny_bundle, clip, target, style_keys=str(tmp_path / "keys.yaml"))
    assert report.is_there_already
    for other in ("0 dog seed=3; 0.4 cat ref=a.png hold", "0 dog seed=3; 0.5 cat ref=a.png"):
        with pytest.raises(OptionError, match="already exists"):
            make_film(tiny_bundle, clip, target, style_keys=other.replace("a.png", f"'{ref}'"))


def test_films_of_one_style_keep_the_mark_of_earlier_versions(make_clip, tiny_bundle, tmp_path):
    # the mark of a film that was made before videos had several styles
    clip = make_clip("in.mp4", **CLIP)
    make_film(tiny_bundle, clip, tmp_path / "out.mp4", domain="dog", seed=3)
    [run] = read_runs(tmp_path / "out.mp4.json")
    from starcast.runtime.video.film_record import _settings_of, _usual

    new = ("style_keys", "refs", "seeds", "frames_per_step", "loop")
    old = {**run, "options": {name: value for name, value in run["options"].items() if name not in new}}
    mark = read_mark(tmp_path / "out.mp4")
    assert mark is not None
    assert _settings_of(old, _usual(options())) == mark.settings


def test_one_unreadable_reference_of_several_is_left_out(make_clip, tiny_bundle, tmp_path):
    write_image(tmp_path / "dog-a.png", GREY)
    (tmp_path / "dog-b.png").write_bytes(b"no image")
    refs = tuple(str(tmp_path / f"dog-{name}.png") for name in "ab")
    report, lines = make_film(tiny_bundle, make_clip("in.mp4", **CLIP), tmp_path / "out.mp4", refs=refs)
    assert report.frames == 10
    assert ["the other references are used" in sentence for sentence in report.failed] == [True]
    assert report.failed[0] in lines


def test_labels_change_over_time(label_bundle, make_clip, watch, tiny_model, tmp_path):
    keys = "0 as-it-is linear; 0.5 set=Smiling hold; 0.8 Male"
    clip = make_clip("in.mp4", **CLIP)
    bundle = label_bundle()
    make_film(bundle, clip, tmp_path / "out.mp4", style_keys=keys, has=("Young",))
    [run] = read_runs(tmp_path / "out.mp4.json")
    assert [style["label"] for style in run["styles"]] == ["as-it-is", "Smiling", "Male"]
    own, smiling, male = (np.array(style["labels"]) for style in run["styles"])
    seen = np.array(watch(tmp_path / "out.mp4").middle, float)
    for number, style in ((0, own), (2, own + 0.4 * (smiling - own)), (5, smiling), (7, smiling), (9, male)):
        truth = tiny_model.translation(GREY[None], style)[0, 0, 0]
        assert np.abs(seen[number] - truth).max() <= CODING


def test_a_spread_over_an_unknown_duration_needs_a_step():
    with pytest.raises(OptionError, match="give --frames-per-step"):
        spread_keys(3, Fraction(25), None, None, loop=False)
    assert spread_keys(3, Fraction(25), None, 50, loop=True).period_s == 6
    keys = [(parse_time(text), "smooth") for text in ("0", "1")]
    with pytest.raises(OptionError, match="--loop needs a video whose duration is known"):
        place_keys(keys, Fraction(25), None, "--style-keys", loop=True)


class CountedStyles:
    """Stands for `SourceStyles` of a bundle whose styles depend on the first frame."""

    def __init__(self) -> None:
        self.has: dict[str, list[str]] = {}
        self.calls = 0

    def make(self, image, name):
        self.calls += 1
        self.has[name] = ["Young"]
        return np.full((2, 3), image.mean()) * np.array([[1], [2]], np.float32)


def test_styles_go_on_from_a_state_without_the_first_frame():
    course = spread_keys(2, Fraction(25), Fraction(1), None, loop=False)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    whole = FilmStyles(CountedStyles(), course, Fraction(1, 25), "a.mp4")
    unbroken = whole.at(images, [0, 5, 10, 15])
    styles = CountedStyles()
    rest = FilmStyles(styles, course, Fraction(1, 25), "a.mp4")
    restore({"styles": rest}, {f"styles/{name}": values for name, values in whole.state().items()})
    np.testing.assert_array_equal(rest.at(images[2:], [10, 15]), unbroken[2:])
    assert (styles.calls, styles.has) == (0, {"a.mp4": ["Young"]})
