"""The measures are tried on models whose quality is known: the drawing code, and some that do one thing wrong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from starcast.benchmarks.quality.classifier import train_classifier
from starcast.benchmarks.quality.creatures import BARS, LONG_BARS, DomainQuality, Quality, measure_quality
from starcast.benchmarks.quality.measures import read_held_out, read_training_images
from starcast.errors import DatasetError
from starcast.train.creatures.coats import DOMAINS, Coat, random_coat
from starcast.train.creatures.dataset import make_dataset, read_facts
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.options import CreatureOptions

SIZE = 64
NAMES = list(DOMAINS)


class DrawnTranslations:
    """A perfect model: it knows every held-out picture's facts, and draws its pose in the coat that the style holds."""

    def __init__(self, folder):
        facts = [creature for creatures in read_facts(folder)[1].values() for creature in creatures]
        self.facts = {draw_creature(fact.pose, fact.coat, SIZE)[0].tobytes(): fact for fact in facts}

    def style(self, *, domain, seed=None, reference=None):
        if reference is None:
            return self._style(random_coat(np.random.default_rng([99, seed]), domain))
        coat = self.facts[reference.tobytes()].coat
        assert coat.domain == domain
        return self._style(coat)

    def __call__(self, images, styles):
        assert images.dtype == np.uint8
        assert styles.dtype == np.float32
        assert len(images) == len(styles)
        return np.stack([self.draw(image, style) for image, style in zip(images, styles, strict=True)])

    def draw(self, image, style):
        return draw_creature(self.facts[image.tobytes()].pose, self.coat(style), SIZE)[0]

    @staticmethod
    def _style(coat):
        return np.array([NAMES.index(coat.domain), *coat.colour, coat.period, coat.phase_u, coat.phase_v], np.float32)

    @staticmethod
    def coat(style):
        place, red, green, blue, period, phase_u, phase_v = (float(number) for number in style)
        return Coat(
            domain=NAMES[int(place)], colour=(red, green, blue), period=period, phase_u=phase_u, phase_v=phase_v
        )


class UnchangedTranslations(DrawnTranslations):
    def draw(self, image, style):
        return image


class OneCoatTranslations(DrawnTranslations):
    """It knows the domains but not the styles."""

    def coat(self, style):
        return dataclasses.replace(super().coat(style), colour=DOMAINS[NAMES[int(style[0])]].first)


class DriftingTranslations(DrawnTranslations):
    def draw(self, image, style):
        pose = self.facts[image.tobytes()].pose
        return draw_creature(dataclasses.replace(pose, backdrop=pose.backdrop - 40), self.coat(style), SIZE)[0]


class MirroredTranslations(DrawnTranslations):
    def draw(self, image, style):
        return super().draw(image, style)[::-1, ::-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    options = CreatureOptions(train_images=60, val_images=15, video_seconds=1)
    return make_dataset(tmp_path_factory.mktemp("quality") / "set", options).folder


@pytest.fixture(scope="module")
def classify(folder):
    return train_classifier(*read_training_images(folder))


@pytest.fixture(scope="module")
def quality_of(folder, classify):
    def measure(model: DrawnTranslations) -> Quality:
        return measure_quality(read_held_out(folder), model, classify)

    return measure


def test_a_perfect_model_reaches_every_bar(quality_of, folder):
    quality = quality_of(DrawnTranslations(folder))
    assert quality.misses(LONG_BARS) == []
    assert quality.classifier_accuracy == 1.0
    assert quality.silhouette_accuracy >= 0.95
    assert quality.mean("overlap") >= 0.95
    assert quality.mean("drift") == 0.0
    assert quality.mean("reference_correlation") > 0.9
    assert quality.mean("latent_spread") == pytest.approx(1.0, abs=0.35)
    # every source twice into each of the two other domains, and ten latents on eight of them
    assert quality.translations == 3 * (2 * 30 + 8 * 10)
    assert {name: facts.channel for name, facts in quality.domains.items()} == {
        "checked": "green",
        "spotted": "red",
        "striped": "green",
    }


def test_a_model_that_changes_nothing_keeps_silhouettes_and_backdrops_and_misses_the_rest(quality_of, folder):
    quality = quality_of(UnchangedTranslations(folder))
    assert quality.mean("overlap") == pytest.approx(quality.silhouette_accuracy)
    assert quality.mean("drift") == 0.0
    assert quality.mean("latent_accuracy") == quality.mean("reference_accuracy") == 0.0
    assert quality.mean("latent_spread") == pytest.approx(0.0, abs=1e-9)
    assert len(quality.misses()) == 3


def test_a_model_that_ignores_its_style_misses_spread_and_reference_alone(quality_of, folder):
    misses = quality_of(OneCoatTranslations(folder)).misses(LONG_BARS)
    assert len(misses) == 2
    assert "the coats' spread over latents" in misses[0]
    assert "the rank correlation" in misses[1]


def test_a_backdrop_that_moves_by_forty_levels_is_seen_to(quality_of, folder):
    quality = quality_of(DriftingTranslations(folder))
    assert quality.mean("drift") == pytest.approx(40, abs=0.01)
    assert quality.misses() == ["the drift of the backdrop's colour, in grey levels, is 40: at most 25 is required"]


def test_a_creature_in_another_place_misses_the_overlap_alone(quality_of, folder):
    quality = quality_of(MirroredTranslations(folder))
    assert [sentence.split(" is ")[0] for sentence in quality.misses()] == ["the silhouettes' intersection over union"]


def test_a_classifier_of_patterns_may_judge_too(folder, classify):
    model = DrawnTranslations(folder)
    quality = measure_quality(read_held_out(folder), model, classify, classify_pattern=classify)
    assert quality.mean("pattern_accuracy") == 1.0


def figures(**changes) -> Quality:
    domain = DomainQuality(
        **{
            "latent_accuracy": 0.95,
            "reference_accuracy": 0.95,
            "pattern_accuracy": None,
            "overlap": 0.75,
            "drift": 25.0,
            "latent_spread": 0.3,
            "reference_correlation": 0.5,
            "real_spread": 30.0,
            "channel": "red",
            **changes,
        }
    )
    return Quality(domains={"a": domain}, translations=1, classifier_accuracy=1.0, silhouette_accuracy=1.0)


def test_a_measure_on_its_bar_reaches_it():
    assert figures().misses(LONG_BARS) == []


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("latent_accuracy", 0.949),
        ("reference_accuracy", 0.949),
        ("overlap", 0.749),
        ("drift", 25.1),
        ("latent_spread", 0.299),
        ("reference_correlation", 0.499),
    ],
)
def test_each_bar_can_be_missed_and_not_a_number_misses_it(measure, value):
    for missing in (value, float("nan")):
        misses = figures(**{measure: missing}).misses(LONG_BARS)
        assert [LONG_BARS[measure].sentence in sentence for sentence in misses] == [True]


def test_following_the_reference_is_asked_of_a_longer_training_only():
    assert figures(reference_correlation=0.0).misses() == []
    assert set(LONG_BARS) - set(BARS) == {"reference_correlation"}


def test_the_record_is_plain_json_with_the_bars_beside_the_means():
    record = json.loads(json.dumps(figures().as_json()))
    assert record["means"] == record["bars"]
    assert record["domains"]["a"]["channel"] == "red"


def test_a_folder_without_facts_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="starcast dataset make"):
        read_held_out(tmp_path)
    with pytest.raises(DatasetError, match="starcast dataset make"):
        read_training_images(tmp_path)
