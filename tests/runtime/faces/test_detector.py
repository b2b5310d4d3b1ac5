"""Faces are found in images of any size, however they lie there, with points that alignment can trust."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from starcast.errors import MissingExtraError
from starcast.images.read import read_image
from starcast.runtime.faces import detector
from starcast.runtime.faces.detector import CAREFUL, FAST, DetectedFace, FaceDetector
from starcast.runtime.faces.similarity import similarity

PHOTOS = Path(__file__).parents[4] / "shared" / "images" / "celeba_hq"
needs_detector = pytest.mark.skipif(detector.weights() is None, reason="the extra faces is not installed")
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photographs in ../shared")
ALIGNED = ["female/039913.jpg", "female/091623.jpg", "male/006930.jpg"]


def find(faces: FaceDetector, image: np.ndarray) -> list[DetectedFace]:
    """The faces in an image with exact points."""
    return [DetectedFace(faces.look_closer(image, face.points), face.box, face.score) for face in faces.detect(image)]


@pytest.fixture(scope="module")
def careful():
    return FaceDetector(CAREFUL)


@needs_detector
@needs_photos
@pytest.mark.parametrize("name", ALIGNED)
def test_an_aligned_photograph_is_found_to_be_aligned(name):
    """CelebA-HQ's photographs were cropped by the rule that `crop_square` follows: its square is the whole image."""
    face = find(FaceDetector(FAST), read_image(PHOTOS / name))[0]
    corners = np.array([[0, 0, 1], [1023, 0, 1], [0, 1023, 1]]).T
    np.testing.assert_allclose((similarity(face.points, None, 1024) @ corners)[:2], corners[:2], atol=0.06 * 1024)


@needs_detector
@needs_photos
@pytest.mark.parametrize("name", ALIGNED[:2])
def test_a_face_that_is_turned_and_scaled_has_its_points_at_the_same_places(name, careful):
    image = read_image(PHOTOS / name)
    turned = np.vstack([cv2.getRotationMatrix2D((511.5, 511.5), 25, 0.7), [0, 0, 1]])
    turned[:2, 2] += 100, 60
    moved = cv2.warpAffine(image, turned[:2], (1400, 1100), flags=cv2.INTER_AREA, borderValue=(90, 100, 110))
    [before, after] = [find(careful, each)[0].points for each in (image, moved)]
    onto = similarity(after, None, 256)
    truth, found = before.moved(similarity(before, None, 256)), before.moved(onto @ turned)
    for ours, theirs in ((found.eyes, truth.eyes), (found.mouth, truth.mouth)):
        assert np.hypot(*(ours - theirs).T).max() <= 2  # pixels of the aligned square


@needs_detector
@needs_photos
def test_small_faces_are_found_in_a_large_frame_and_the_largest_comes_first():
    frame = np.full((1080, 1920, 3), 110, np.uint8)
    for side, (left, top) in ((90, (100, 800)), (160, (1500, 200))):
        frame[top : top + side, left : left + side] = cv2.resize(
            read_image(PHOTOS / ALIGNED[0]), (side, side), interpolation=cv2.INTER_AREA
        )
    faces = find(FaceDetector(FAST), frame)
    assert [1500 < face.box[0] < 1660 for face in faces] == [True, False]


@needs_detector
@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (32, 400), (64, 64), (700, 30)])
def test_an_image_without_a_face_has_none(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert find(FaceDetector(FAST), image) == []
    assert find(FaceDetector(FAST), np.zeros_like(image)) == []


@needs_detector
def test_nothing_is_printed_and_no_code_of_the_package_with_the_weights_is_run(capfd):
    find(FaceDetector(), np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
    assert detector.PACKAGE not in sys.modules


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(detector, "PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"pip install 'starcast\[faces\]'"):
        FaceDetector()


def rows(*faces):
    """YuNet's rows of upright faces, each (x, y) of its middle and its width."""
    points = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]])
    return np.array([
        [x - width / 2, y - width / 2, width, width, *(points * width + [x, y]).ravel(), 0.9] for x, y, width in faces
    ])  # fmt: skip


class Stand:
    """Stands in for OpenCV's detector: `answers` has rows by the size of the image."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def setInputSize(self, size):  # noqa: N802
        self.asked.append(size)

    def detect(self, image):
        return 1, self.answers.get(image.shape[1::-1])


@pytest.fixture
def seeing(monkeypatch):
    def with_answers(answers):
        monkeypatch.setattr(detector, "weights", lambda: Path("weights.onnx"))
        faces, network = FaceDetector(FAST), Stand(answers)
        vars(faces)["_network"] = network
        return faces, network

    return with_answers


def test_a_large_image_is_searched_small_first_and_larger_only_if_nothing_was_found(seeing):
    faces, network = seeing({(640, 360): rows((300, 100, 60))})
    [face] = find(faces, np.zeros((1080, 1920, 3), np.uint8))
    assert network.asked[0] == (640, 360)
    assert (1280, 720) not in network.asked
    np.testing.assert_allclose(face.box, [270 * 3, 70 * 3, 180, 180])
    # a detector's pixel (0, 0) is the corner of the first one, ours its middle
    np.testing.assert_allclose(face.points.eyes, [[288 * 3 - 0.5, 91 * 3 - 0.5], [312 * 3 - 0.5, 91 * 3 - 0.5]])

    faces, network = seeing({})
    assert find(faces, np.zeros((1080, 1920, 3), np.uint8)) == []
    assert network.asked == [(640, 360), (1280, 720)]


def test_a_close_up_and_its_mirror_image_are_averaged(seeing):
    """A detector that always says six pixels too far right says so in the mirror image, too."""
    upright = rows((160 + 6, 165, 150))
    faces, _ = seeing({(640, 640): rows((320, 320, 150)), (320, 320): upright})
    [face] = find(faces, np.zeros((640, 640, 3), np.uint8))
    assert face.points.eyes[:, 0].mean() == pytest.approx(319.5, abs=1)
