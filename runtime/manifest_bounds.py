"""Bounds on what a manifest may say, and the types of its numbers."""

from __future__ import annotations

from typing import Annotated

import msgspec

# Bundles come from strangers: without them a number alone, with no data behind it,
# would decide how much memory is allocated. All are far above what today's networks need.
LARGEST_SIDE = 2**14  # pixels
LARGEST_VECTOR = 2**20  # numbers in a style or a latent
LARGEST_MEANS = 2**26  # numbers in the mean styles of all domains together
LARGEST_NOISE = 2**26  # numbers in the noise of one image
MOST_LAYERS = 2**10  # that have a style, or noise, of their own
MOST_CHANNELS = 64  # of an extra input
MOST_POINTS = 2**10  # landmarks of a face
LARGEST_EXTRA = 2**24  # numbers in an extra input of one image, or in its heatmaps
CHANNELS = 3  # of every source, and of its translation

Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**60)]
Side = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SIDE)]
Length = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VECTOR)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=MOST_LAYERS)]
Shape = tuple[int | None, ...]  # of a graph's input; None: any length
