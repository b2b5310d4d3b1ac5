"""Which layout AAC stores sound in, and where each channel goes."""

from __future__ import annotations

import numpy as np
import pytest
from av import AudioLayout
from hypothesis import given
from hypothesis import strategies as st

from starcast.runtime.video.output.channels import MOST, is_mixed, matrix, store

# https://ffmpeg.org/ffmpeg-utils.html#Channel-Layout, and what it gives sound that names no channels
UP_TO_EIGHT = (
    "mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "3.1", "5.0", "5.0(side)", "4.1", "5.1",
    "5.1(side)", "6.0", "6.0(front)", "3.1.2", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)",
    "7.1", "7.1(wide)", "7.1(wide-side)", "5.1.2", "octagonal", "cube", "downmix", "ambisonic 1",
    *(f"{count} channels" for count in range(1, 9)),
)  # fmt: skip
MORE = ("hexadecagonal", "22.2", "7.1.4", "9.1.6", "9 channels", "16 channels", "ambisonic 2", "ambisonic 3")


@pytest.mark.parametrize("name", UP_TO_EIGHT)
def test_up_to_eight_channels_stay_as_many_and_none_is_mixed(name):
    layout = AudioLayout(name)
    target = AudioLayout(store(layout).layout)
    weights = matrix(layout, target)
    assert target.nb_channels == layout.nb_channels
    assert (np.sort(weights, axis=1)[:, :-1] == 0).all()
    assert (weights.sum(0) == 1).all()
    assert (weights.sum(1) == 1).all()
    assert not is_mixed(layout, target)


@pytest.mark.parametrize("name", UP_TO_EIGHT)
def test_only_a_subwoofer_is_stored_as_one_or_it_is_said(name):
    """The encoder keeps only the low tones of that channel."""
    layout = AudioLayout(name)
    storage = store(layout)
    target = AudioLayout(storage.layout)
    for place, weights in zip(target.channels, matrix(layout, target), strict=True):
        source = layout.channels[int(weights.argmax())].name
        assert place.name != "LFE" or source.startswith("LFE") or "keeps only low tones" in storage.note


@pytest.mark.parametrize("name", MORE)
def test_more_than_eight_channels_are_mixed_down_and_that_is_said(name):
    layout = AudioLayout(name)
    storage = store(layout)
    target = AudioLayout(storage.layout)
    assert target.nb_channels <= MOST
    assert f"its {layout.nb_channels} channels are mixed down to {storage.layout}" in storage.note
    assert is_mixed(layout, target)


@given(st.sampled_from(UP_TO_EIGHT + MORE), st.sampled_from(("mono", "stereo", "quad", "5.1", "7.1")))
def test_no_mix_clips_and_no_channel_but_subwoofers_is_lost(source, target):
    layout = AudioLayout(source)
    weights = matrix(layout, AudioLayout(target))
    assert weights.min() >= 0
    assert weights.sum(1).max() <= 1 + 1e-6
    names = [channel.name for channel in layout.channels]
    lost = {name for name, total in zip(names, weights.sum(0), strict=True) if total == 0}
    if names[0].startswith("AMBI"):
        assert "AMBI0" not in lost
    else:
        assert lost <= {"LFE", "LFE2", "NONE"}
        assert "NONE" not in lost or layout.nb_channels in (6, 8)  # taken for 5.1 and 7.1, so the fourth is one


def test_five_one_becomes_stereo_as_itu_r_bs_775_has_it():
    left, right = matrix(AudioLayout("5.1"), AudioLayout("stereo")) * (1 + 2 * 0.5**0.5)
    assert left == pytest.approx([1, 0, 0.5**0.5, 0, 0.5**0.5, 0])
    assert right == pytest.approx([0, 1, 0.5**0.5, 0, 0, 0.5**0.5])
