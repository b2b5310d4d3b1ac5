"""Open what finds and aligns faces: the files of --landmarks and --mean, the detector, a bundle's landmark network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from starcast.errors import OptionError
from starcast.runtime.bundle import Bundle, sha256_of
from starcast.runtime.faces.detector import CAREFUL, CloseUps, FaceDetector, weights
from starcast.runtime.faces.finders import NO_DETECTOR, FindHeatmaps, landmark_finder, open_heatmaps
from starcast.runtime.faces.mean import read_mean
from starcast.runtime.faces.points import FacePoints
from starcast.runtime.faces.sight import Sight
from starcast.runtime.translator import Translator


class FaceFiles(msgspec.Struct, frozen=True):
    """What finds faces, apart from a bundle, and the mean face that they are aligned to.

    `facts` has the files' hashes, for records and marks: with equal facts, the same faces are found and aligned in the
    same way.
    """

    find_heatmaps: FindHeatmaps | None
    mean: FacePoints | None
    has_detector: bool
    facts: dict[str, str]

    def sight(self, size: int, close_ups: CloseUps = CAREFUL, *, translator: Translator | None = None) -> Sight:
        """What finds faces for squares of `size` pixels a side. The landmark network is that of --landmarks, or else of
        the translator's bundle, if it has one."""
        find_heatmaps = self.find_heatmaps
        if find_heatmaps is None and translator is not None and translator.bundle.manifest.landmarks is not None:
            find_heatmaps = translator.heatmaps
        look = None if find_heatmaps is None else landmark_finder(find_heatmaps, None, size)
        return Sight(FaceDetector(close_ups) if self.has_detector else None, look, self.mean)


@contextmanager
def open_face_files(landmarks: Path | None, mean: Path | None, bundle: Bundle | None = None) -> Iterator[FaceFiles]:
    """Open the files of --landmarks and --mean. `bundle`: of the model that translates the faces.

    Raises OptionError if a file is missing or of another kind, nothing finds faces, or the model is not square; and
    CheckpointError, BundleError, EngineError, MissingExtraError.
    """
    path = weights()
    if bundle is not None:
        _refuse_oblong(bundle)
    if path is None and landmarks is None and (bundle is None or bundle.manifest.landmarks is None):
        raise OptionError(
            NO_DETECTOR if bundle is None else f"{bundle.path} has no landmark network, and {NO_DETECTOR}"
        )
    facts = {} if path is None else {"detector": sha256_of(path)}
    points = None
    if mean is not None:
        points = read_mean(mean)
        facts["mean"] = sha256_of(mean)
    with ExitStack() as opened:
        find_heatmaps = None
        if landmarks is not None:
            find_heatmaps, more = opened.enter_context(open_heatmaps(landmarks))
            facts |= more
        yield FaceFiles(find_heatmaps, points, path is not None, facts)


def _refuse_oblong(bundle: Bundle) -> None:
    height, width = bundle.source.height, bundle.source.width
    if height != width:
        raise OptionError(
            f"{bundle.path} translates images of {width}x{height}, but --align needs a square model: leave out --align"
        )
