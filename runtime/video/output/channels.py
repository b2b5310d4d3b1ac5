"""Which layout AAC or Opus stores sound in, and how the source's channels get there.

Every channel stays a channel of its own up to eight. FFmpeg's encoder takes most layouts of up to eight channels; the
ten in NAMED come back from every decoder under their names, the others as "6 channels". More than eight are mixed down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from av import AudioLayout, CodecContext, FFmpegError
from numpy.typing import NDArray

MOST = 8
NAMED_BY_OPUS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_OF_OPUS = dict(enumerate(NAMED_BY_OPUS, start=1))
NAMED = ("mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "5.0", "5.1", "7.1")
# its channels come back in another order (FFmpeg 8.1)
_MISPLACED = ("6.0(front)",)
# for channels without names, in the order of WAV; without a subwoofer where none is usual, because it is low-pass only
_BY_COUNT = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.0", 8: "7.1"}
_WITHOUT_SUBWOOFER = {**_BY_COUNT, 6: "hexagonal", 8: "octagonal"}
_RENAMED = {"SL": "BL", "SR": "BR", "DL": "FL", "DR": "FR", "BIL": "FL", "BIR": "FR"}

_H = 0.5**0.5
# where a channel goes that the target lacks: the first row whose channels the target has (ITU-R BS.775 for the front
# and the sides; a channel overhead or below goes to the one beneath or above it)
_CENTRE = ({"FC": 1.0}, {"FL": _H, "FR": _H})
_REAR = ({"BC": 1.0}, {"BL": _H, "BR": _H}, {"SL": _H, "SR": _H}, {"FL": 0.5, "FR": 0.5}, {"FC": _H})
_SUBWOOFER: tuple[dict[str, float], ...] = ({"LFE": 1.0},)


def _front(side: str) -> tuple[dict[str, float], ...]:
    return ({f"F{side}": 1.0}, {"FC": _H})


def _back(side: str, first: str, second: str) -> tuple[dict[str, float], ...]:
    return ({f"{first}{side}": 1.0}, {f"{second}{side}": 1.0}, {f"F{side}": _H}, {"FC": 0.5})


_ROUTES: dict[str, tuple[dict[str, float], ...]] = {
    **{f"{name}{side}": _front(side) for side in "LR" for name in ("F", "TF", "BF", "W", "D", "BI")},
    **{f"F{side}C": _front(side) for side in "LR"},
    **{f"{name}{side}": _back(side, "S", "B") for side in "LR" for name in ("S", "TS", "SD", "SS")},
    **{f"{name}{side}": _back(side, "B", "S") for side in "LR" for name in ("B", "TB", "TT")},
    **dict.fromkeys(("FC", "TFC", "BFC"), _CENTRE),
    **dict.fromkeys(("BC", "TBC"), _REAR),
    "TC": ({"FL": 0.5, "FR": 0.5, "BL": 0.5, "BR": 0.5}, *_CENTRE),
    **dict.fromkeys(("LFE", "LFE2"), _SUBWOOFER),
}


@dataclass(frozen=True)
class Storage:
    """A layout that the codec can store, and a clause for the user where it is not the source's own."""

    layout: str
    note: str = ""


def store(layout: AudioLayout, codec: str = "aac") -> Storage:
    """How the encoder `codec` stores sound of `layout`. FLAC and PCM, which hold more, do it as AAC does."""
    names, count = _names(layout), layout.nb_channels
    named = NAMED_BY_OPUS if codec == "libopus" else NAMED
    if layout.name in named:
        return Storage(layout.name)
    renamed = {_RENAMED.get(name, name) for name in names}
    for other in named:
        if len(renamed) == count and renamed == set(_names(AudioLayout(other))):
            return Storage(other)
    if count > MOST:
        target = _mixed_target(names)
        return Storage(
            target, f"its {count} channels are mixed down to {target}, as few players support more than {MOST}"
        )
    if codec == "libopus":
        return _store_in_opus(layout, names)
    if _is_ambisonic(names):
        return Storage(_WITHOUT_SUBWOOFER[count], f"its layout {layout.name} is stored as {_WITHOUT_SUBWOOFER[count]}")
    if not _has_names(names):
        target = _BY_COUNT.get(count, "stereo")
        if "LFE" not in _names(AudioLayout(target)):
            return Storage(target)
        return Storage(
            target, f"its {count} channels have no names and are taken for {target}, whose fourth keeps only low tones"
        )
    if layout.name not in _MISPLACED and _encoder_takes(layout.name):
        return Storage(layout.name)
    target = (_BY_COUNT if "LFE" in names else _WITHOUT_SUBWOOFER)[count]
    return Storage(target, f"its layout {layout.name} is stored as {target}")


def _store_in_opus(layout: AudioLayout, names: Sequence[str]) -> Storage:
    """Opus has one layout for each number of channels (RFC 7845, 5.1.1.2). Sound of another goes into the smallest that
    has a place for each of its channels; the rest of that is silent."""
    count = layout.nb_channels
    if not _has_names(names):
        target = _OF_OPUS[count]
        if "LFE" in _names(AudioLayout(target)):
            return Storage(
                target, f"its {count} channels are taken for {target}, whose channel for low tones keeps no others"
            )
        return Storage(target, f"its layout {layout.name} is stored as {target}" if _is_ambisonic(names) else "")
    renamed = {_RENAMED.get(name, name) for name in names}
    for other in NAMED_BY_OPUS:
        if len(renamed) == count and renamed <= {_RENAMED.get(name, name) for name in _names(AudioLayout(other))}:
            return Storage(other, f"its layout {layout.name} is stored as {other}")
    target = "7.1" if "LFE" in names else "6.1"
    return Storage(target, f"its layout {layout.name} is mixed into {target}")


def is_mixed(source: AudioLayout, target: AudioLayout) -> bool:
    """Whether channels of `source` share one of `target`, or are left out."""
    return bool((matrix(source, target) > 0).sum(1).max() > 1) or source.nb_channels > target.nb_channels


def matrix(source: AudioLayout, target: AudioLayout) -> NDArray[np.float32]:
    """Weights [target channels, source channels]. As many channels, in other places, keep their order; otherwise each
    goes to where it is heard, and a sum that could clip is scaled down."""
    names, targets = _names(source), _names(target)
    if not _has_names(names) and not _is_ambisonic(names) and len(names) in _BY_COUNT:
        names = _names(AudioLayout(_BY_COUNT[len(names)]))
    weights = np.zeros((len(targets), len(names)), np.float32)
    if len(names) == len(targets):
        weights[_order(names, targets), np.arange(len(names))] = 1
        return weights
    for column, name in enumerate(names):
        for place, weight in _route(name, column, names, targets).items():
            weights[targets.index(place), column] = weight
    return weights / np.float32(max(1.0, weights.sum(1).max()))


def _order(names: Sequence[str], targets: Sequence[str]) -> list[int]:
    """The target's place of each channel: that of its name if all of them have one there, otherwise its own."""
    if set(names) == set(targets):
        return [targets.index(name) for name in names]
    renamed = [_RENAMED.get(name, name) for name in names]
    return [targets.index(name) for name in renamed] if set(renamed) == set(targets) else list(range(len(names)))


def _route(name: str, column: int, names: Sequence[str], targets: Sequence[str]) -> Mapping[str, float]:
    if name in targets:
        return {name: 1.0}
    if _is_ambisonic(names):  # the first is the sum of all directions
        return dict.fromkeys(({"FC"} if "FC" in targets else {"FL", "FR"}) if column == 0 else (), 1.0)
    if name not in _ROUTES:  # tracks side by side: by custom, odd ones are left, even ones right
        side = "FL" if column % 2 == 0 else "FR"
        return {side if side in targets else targets[0]: 1.0}
    return next((row for row in _ROUTES[name] if row.keys() <= set(targets)), {})


def _mixed_target(names: Sequence[str]) -> str:
    if _is_ambisonic(names):
        return "mono"
    return "7.1" if _has_names(names) else "stereo"


def _names(layout: AudioLayout) -> list[str]:
    return [channel.name for channel in layout.channels]


def _has_names(names: Sequence[str]) -> bool:
    return not any(name.startswith(("NONE", "UNK", "UNSD", "USR", "AMBI")) for name in names)


def _is_ambisonic(names: Sequence[str]) -> bool:
    return bool(names) and names[0].startswith("AMBI")


@cache
def _encoder_takes(layout: str) -> bool:
    context = CodecContext.create("aac", "w")
    try:
        context.layout, context.sample_rate, context.format = layout, 48000, "fltp"
        context.open()
    except (FFmpegError, ValueError):
        return False
    return True
