"""The page in a real browser, before a camera whose frames are numbered: what it shows, steers, saves and survives."""

from __future__ import annotations

import base64
import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from counted_camera import PATCH, number_of, write_camera
from PIL import Image
from server_in_thread import ServerInThread

from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import open_service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

NEAR = 6  # levels: the camera's colours, a JPEG there and one back, each in 4:2:0
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[ServerInThread]:
    """The tiny bundle, served."""
    with open_service(open_bundle(tiny_bundle), Limits(), print, backend="onnxruntime", threads=1) as service:
        server = ServerInThread(service)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with the numbered camera."""
    camera = write_camera(tmp_path_factory.mktemp("camera") / "camera.y4m")
    arguments = [
        "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}", "--autoplay-policy=no-user-gesture-required",
    ]  # fmt: skip
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Any, server: ServerInThread) -> Iterator[Any]:
    """The page with the camera started; it must write no error into the console."""
    context = browser.new_context(permissions=["camera"], viewport={"width": 1200, "height": 800})
    page, complaints = context.new_page(), []
    page.set_default_timeout(WAIT_MS)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.address)
    page.click("#start")
    page.wait_for_selector("#result[data-frame]")
    yield page
    context.close()
    # the server is away for a moment, and refuses one reference
    assert [line for line in complaints if not re.search("WebSocket|400 .Bad Request", line)] == []


def shown(page: Any) -> np.ndarray:
    """The pixels of the translation."""
    data = page.eval_on_selector("#result", "canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def patch_of(image: np.ndarray) -> np.ndarray:
    """The mean colour of the patch."""
    size = len(image)
    return image[size * 5 // 8 : size * 7 // 8, size // 4 : size * 3 // 4].mean(axis=(0, 1))


def wait_for_patch(page: Any, expected: np.ndarray) -> None:
    """Until the patch has that colour, within NEAR."""
    end = time.monotonic() + WAIT_MS / 1000
    while np.abs(patch_of(shown(page)) - expected).max() > NEAR:
        assert time.monotonic() < end, (patch_of(shown(page)), expected, page.text_content("#error"))
        page.wait_for_timeout(50)


@pytest.fixture
def expected(server: ServerInThread, tiny_model: Any) -> Any:
    """expected(domain, seed=…): the patch's colour in that style."""
    translator = server.service.translator

    def colour(domain: str, **style: Any) -> np.ndarray:
        return tiny_model.translation(np.full((1, 4, 4, 3), PATCH, np.uint8), translator.style(domain, **style))[
            0, 0, 0
        ]

    return colour


def test_the_address_leaves_the_token_behind(page):
    assert "token" not in page.url
    assert page.title() == "tiny"
    assert page.text_content("#status") == "Connected"


def test_the_camera_is_translated_frame_by_frame(page, expected):
    wait_for_patch(page, expected("cat", seed=0))
    offset = expected("cat", seed=0).astype(float) - PATCH
    numbers = []
    for _ in range(12):
        numbers.append(number_of(shown(page), offset))
        page.wait_for_timeout(70)
    steps = np.diff(numbers) % 60
    assert set(numbers) <= set(range(60))
    assert (steps > 0).sum() >= 8
    assert steps.max() < 30  # it runs forwards


def test_seed_domain_strength_and_blend_show_at_once(page, expected):
    page.focus("body")
    page.keyboard.press("s")
    wait_for_patch(page, expected("cat", seed=1))
    page.keyboard.press("d")
    wait_for_patch(page, expected("dog", seed=1))
    page.fill("#psi", "0.5")
    wait_for_patch(page, expected("dog", seed=1, psi=0.5))
    page.fill("#psi", "1")
    page.fill("#second", "8")
    page.fill("#blend", "1")
    wait_for_patch(page, expected("dog", seed=8))
    page.fill("#blend", "0")
    page.click("#gallery button >> nth=3")
    wait_for_patch(page, expected("dog", seed=3))
    assert page.input_value("#seed") == "3"


def test_the_gallery_shows_what_each_seed_makes_of_the_image(page, expected):
    page.click("label:has-text('wild')")
    page.wait_for_selector("#gallery[aria-busy=true]")
    page.wait_for_selector("#gallery[aria-busy=false]")
    data = page.eval_on_selector(
        "#gallery button:nth-child(6) img",
        "async image => { await image.decode(); const canvas = document.createElement('canvas');"
        " [canvas.width, canvas.height] = [32, 32]; canvas.getContext('2d').drawImage(image, 0, 0, 32, 32);"
        " return canvas.toDataURL('image/png'); }",
    )
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))
    assert patch_of(image) == pytest.approx(expected("wild", seed=5), abs=2 * NEAR)


def test_a_reference_is_dropped_and_taken_back(page, expected, tmp_path):
    colour = (20, 220, 120)
    path = tmp_path / "reference.png"
    Image.new("RGB", (40, 40), colour).save(path)
    content = base64.b64encode(path.read_bytes()).decode()
    transfer = page.evaluate_handle(
        "content => { const transfer = new DataTransfer();"
        " const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));"
        " transfer.items.add(new File([bytes], 'reference.png', {type: 'image/png'})); return transfer; }", content,
    )  # fmt: skip
    page.dispatch_event("#reference-drop", "drop", {"dataTransfer": transfer})
    wait_for_patch(page, expected("wild", reference=np.full((40, 40, 3), colour, np.uint8)))
    assert page.is_visible("#reference-image")
    page.click("#reference-clear")
    wait_for_patch(page, expected("wild", seed=3))
    assert not page.is_visible("#reference-image")


def test_a_reference_that_is_no_image_is_a_sentence(page, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    page.set_input_files("#reference-file", path)
    page.wait_for_selector("#error:visible")
    assert "image" in page.text_content("#error")


def test_a_snapshot_and_a_recording_are_downloaded(page, expected, tmp_path):
    with page.expect_download() as found:
        page.click("#snapshot")
    found.value.save_as(tmp_path / "snapshot.png")
    assert patch_of(np.asarray(Image.open(tmp_path / "snapshot.png").convert("RGB"))) == pytest.approx(
        expected("wild", seed=3), abs=NEAR
    )
    page.click("#record")
    page.wait_for_timeout(1200)
    with page.expect_download() as found:
        page.click("#record")
    film = tmp_path / found.value.suggested_filename
    found.value.save_as(film)
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) > 8
    assert patch_of(frames[-1]) == pytest.approx(expected("wild", seed=3), abs=3 * NEAR)  # the browser's own encoder


def test_the_page_comes_back_after_the_server_restarts(page, expected, server):
    server.stop()
    page.wait_for_selector("#status[data-state=lost]")
    server.start()
    page.wait_for_selector("#status[data-state=open]")
    before = int(page.get_attribute("#result", "data-frame"))
    page.wait_for_selector(f"#result:not([data-frame='{before}'])")
    wait_for_patch(page, expected("wild", seed=3))  # the look is asked for again


def test_a_still_image_is_translated_and_steered(page, expected, tmp_path):
    path = tmp_path / "still.png"
    Image.new("RGB", (64, 48), PATCH).save(path)
    page.set_input_files("#another-file", path)
    wait_for_patch(page, expected("wild", seed=3))
    page.fill("#seed", "11")
    wait_for_patch(page, expected("wild", seed=11))
    page.set_input_files("#another-file", __file__)
    page.wait_for_selector("#error:visible")
    assert "cannot show this image" in page.text_content("#error")


def test_on_a_phone_everything_fits_and_has_a_name(browser, server):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector("#status[data-state=open]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    nameless = page.eval_on_selector_all(
        "button, input, select, canvas",
        "all => all.filter(one => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))"
        ".map(one => one.outerHTML)",
    )
    assert nameless == []
    small = page.eval_on_selector_all(
        "button:not([hidden]), .choices span",
        "all => all.filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 40)"
        ".map(one => one.outerHTML)",
    )
    assert small == []
    context.close()
