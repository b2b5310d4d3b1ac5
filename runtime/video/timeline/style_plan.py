"""Which styles a video was asked for, and when: one for the whole film, keys, or several that are spread over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from starcast.comma_lists import rejoin
from starcast.errors import OptionError, StyleError
from starcast.runtime.manifest import Manifest
from starcast.runtime.options import StyleOptions
from starcast.runtime.record import style_facts
from starcast.runtime.style_requests import (
    StyleRequest,
    refuse_labels,
    refuse_styles,
    request_as_it_is,
    requests_from,
    requests_of_reference,
    requests_of_seed,
)
from starcast.runtime.styles import error_of, readable_requests
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.timeline.course import STILL, Course, place_keys, spread_keys
from starcast.runtime.video.timeline.keyframes import STYLE_KEYS, StyleKey, parse_keys

AS_IT_IS = "as-it-is"  # the source's own attributes

_AS_GIVEN = ("seed", "ref", "set", "unset", "flip", "labels")  # what a key says, and no option in its place


@dataclass(frozen=True)
class StylePlan:
    """The styles of a film, in the order of the keys; `keys` is empty if they are one, or spread over the film."""

    requests: tuple[StyleRequest, ...]
    keys: tuple[StyleKey, ...] = ()
    frames_per_step: int | None = None
    loop: bool = False

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The record's entry for each style; with keys, also when it is and how it leads to the next."""
        facts = style_facts(self.requests)
        if not self.keys:
            return facts
        return [fact | {"at": key.time.text, "ease": key.ease} for fact, key in zip(facts, self.keys, strict=True)]

    def course(self, rate: Fraction, duration_s: Fraction | None) -> Course:
        """When the styles are, in a film of `rate` frames per second. `duration_s`: None if it is unknown. Raises
        OptionError for keys that this film cannot have."""
        if self.keys:
            times = [(key.time, key.ease) for key in self.keys]
            return place_keys(times, rate, duration_s, STYLE_KEYS, loop=self.loop)
        if len(self.requests) == 1:
            return STILL
        return spread_keys(len(self.requests), rate, duration_s, self.frames_per_step, loop=self.loop)


def plan_styles(
    options: VideoOptions, manifest: Manifest, progress: Callable[[str], None], fail: Callable[[str], None]
) -> StylePlan:
    """The styles that the options ask for. `fail` gets a sentence for each of several references that cannot be read;
    the others are used. Raises OptionError, StyleError, and ImageError if a key's reference cannot be read."""
    labels = manifest.condition.only_labels
    if options.style_keys is not None:
        keys = parse_keys(options.style_keys)
        return StylePlan(requests_of_keys(keys, options, manifest, progress), keys, loop=options.loop)
    if options.refs or options.seeds:
        requests = readable_requests(_of_lists(options, manifest, progress), fail)
        return StylePlan(tuple(requests), (), options.frames_per_step, options.loop)
    requests = requests_from(options, manifest.domains, labels=labels, progress=progress, several=False)
    if len(requests) != 1:
        raise OptionError(
            f"a video gets one style, but {len(requests)} were asked for: give one --domain"
            f"{' and one --seed or --ref' if labels is None else ', or --set'}, or several over time with --refs, "
            f"--seeds or {STYLE_KEYS}"
        )
    return StylePlan(tuple(requests))


def requests_of_keys(
    keys: Sequence[StyleKey], usual: VideoOptions | MorphOptions, manifest: Manifest, progress: Callable[[str], None]
) -> tuple[StyleRequest, ...]:
    """The style of each key. `usual`: domain, psi and the source's attributes, for keys that state none. Raises
    OptionError, StyleError, and ImageError for a reference that cannot be read."""
    requests = []
    for key in keys:
        try:
            requests.append(_of_key(key, usual, manifest, progress))
        except (OptionError, StyleError) as error:
            raise type(error)(f"{STYLE_KEYS} at {key.time.text}: {error}") from error
    for path in dict.fromkeys(request.reference for request in requests if request.reference is not None):
        problem = error_of(path)
        if problem is not None:
            raise problem
    return tuple(requests)


def _of_key(
    key: StyleKey, usual: VideoOptions | MorphOptions, manifest: Manifest, progress: Callable[[str], None]
) -> StyleRequest:
    labels = manifest.condition.only_labels
    has = usual.has if key.has is None and key.labels is None else key.has
    if labels is not None and key.domain == AS_IT_IS and AS_IT_IS not in labels.names:
        return request_as_it_is(has, labels)
    changes = key.set or key.unset or key.flip or key.labels is not None
    own: dict[str, Any] = {name: getattr(key, name) for name in _AS_GIVEN}
    domain = key.domain or (None if changes else usual.domain)
    asked = StyleOptions(domain=domain, psi=usual.psi if key.psi is None else key.psi, has=has, **own)
    requests = requests_from(asked, manifest.domains, labels=labels, progress=progress, several=False)
    if len(requests) != 1:
        raise OptionError(f"{len(requests)} styles at once: name one domain and one seed or reference")
    return requests[0]


def _of_lists(options: VideoOptions, manifest: Manifest, progress: Callable[[str], None]) -> list[StyleRequest]:
    """The styles of --refs or --seeds, in order."""
    labels = manifest.condition.only_labels
    if labels is not None:
        refuse_styles({"--refs": bool(options.refs), "--seeds": bool(options.seeds)}, labels)
    refuse_labels(options)
    return requests_of_lists(
        options.refs, options.chosen_seeds, options.domain, options.psi, manifest.domains, progress
    )


def requests_of_lists(
    refs: Sequence[str], seeds: Sequence[int], domain: str | None, psi: float, domains: Sequence[str],
    progress: Callable[[str], None],
) -> list[StyleRequest]:  # fmt: skip
    """The styles of references or seeds, in order: all domains of the first seed, then of the second, …"""
    if seeds:
        groups = [requests_of_seed(seed, domain, domains, psi=psi) for seed in seeds]
    else:
        groups = [
            requests_of_reference(Path(ref), domain, domains, psi=psi, progress=progress)
            for ref in rejoin(refs, os.path.exists)
        ]
    return [request for group in groups for request in group]
