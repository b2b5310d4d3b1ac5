"""`starcast live`: from a file, a stream that drops, and a camera that vanishes, to a recording and a window."""

from __future__ import annotations

import http.server
import io
import json
import threading

import av
import numpy as np
import pytest
from click.testing import CliRunner

from starcast.cli import root
from starcast.errors import OptionError, VideoError
from starcast.runtime.live.captured import Translated
from starcast.runtime.live.looks import Look, Looks
from starcast.runtime.live.options import LiveOptions
from starcast.runtime.live.run import translate_live
from starcast.runtime.live.sources.camera import CameraSource
from starcast.runtime.live.sources.stream import StreamSource

SIDE, FRAMES = 32, 5
PLAIN = {"backend": "onnxruntime", "domain": "dog"}


def write_clip(target, format=None, value=100):
    with av.open(target, "w", format=format) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "tune": "zerolatency"})
        stream.width = stream.height = SIDE
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    write_clip(str(path))
    return path


def test_a_file_is_translated_at_its_pace_into_a_recording(tiny_bundle, tiny_model, clip, tmp_path):
    out, figures = tmp_path / "out.mkv", tmp_path / "figures.json"
    report = translate_live(
        tiny_bundle, str(clip), [str(out)], LiveOptions(**PLAIN, seed=3, statistics=figures), progress=lambda _: None
    )
    facts = json.loads(figures.read_text(encoding="utf-8"))
    assert facts["captured"] == FRAMES
    assert 1 <= facts["shown"] <= FRAMES
    assert not report.failed
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == facts["shown"]
    latent = np.random.RandomState(3).standard_normal((1, 4)).astype(np.float32)[0]
    style = tiny_model.latent_style(latent, 1)
    expected = tiny_model.translation(np.full((1, 1, 1, 3), 100, np.uint8), style)[0, 0, 0]
    seen = frames[0].to_ndarray(format="rgb24")[SIDE // 2, SIDE // 2]
    assert np.abs(seen.astype(int) - expected).max() <= 5  # the clip and the recording are encoded
    times = [frame.time for frame in frames]
    if facts["shown"] == FRAMES:
        assert times[-1] == pytest.approx((FRAMES - 1) / 25, abs=0.1)


class _Drops(http.server.BaseHTTPRequestHandler):
    """Sends a short stream, and drops the connection: twice with frames, once between them with an error."""

    def do_GET(self):
        self.server.requests += 1
        if self.server.requests == 2:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.send_header("Content-Length", str(len(self.server.stream)))
        self.end_headers()
        self.wfile.write(self.server.stream)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    stream = io.BytesIO()
    write_clip(stream, "mpegts")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Drops)
    server.requests, server.stream = 0, stream.getvalue()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stream_that_drops_comes_back_by_itself_and_says_so(server):
    said, stop = [], threading.Event()
    url = f"http://127.0.0.1:{server.server_port}/"
    numbers = []
    for frame in StreamSource(url, said.append, stop).frames():
        numbers.append(frame.number)
        if server.requests == 3:
            stop.set()
    assert server.requests == 3
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1
    assert [line.removeprefix(url).split("(")[0].strip() for line in said] == ["is gone", "is back"]
    assert frame.decode().shape == (SIDE, SIDE, 3)


def test_a_stream_that_was_never_there_is_an_error():
    source = StreamSource("http://127.0.0.1:9/nothing", print, threading.Event())
    with pytest.raises(VideoError, match="gives no frames"):
        next(source.frames())


def test_a_playlist_of_the_network_opens_no_file(tmp_path):
    clip = tmp_path / "clip.ts"
    write_clip(str(clip))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{clip}\n#EXT-X-ENDLIST\n".encode()

    asked = []

    class Playlist(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(playlist)))
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.end_headers()
            self.wfile.write(playlist)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Playlist)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        source = StreamSource(f"http://127.0.0.1:{server.server_port}/a.m3u8", print, threading.Event())
        with pytest.raises(VideoError, match="gives no frames"):
            next(source.frames())
        assert asked == ["/a.m3u8"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class FakeCamera:
    """Gives two pictures each time it is opened, and then none."""

    asked: dict[int, float] = {}  # noqa: RUF012

    def __init__(self, pictures=2):
        self.left = pictures

    def set(self, name, value):
        self.asked[name] = value

    def get(self, _name):
        return 30.0

    def read(self):
        self.left -= 1
        blue = np.zeros((4, 6, 3), np.uint8)
        blue[..., 0] = 255  # OpenCV's order is blue, green, red
        return (True, blue) if self.left >= 0 else (False, None)

    def release(self):
        pass


def test_a_camera_that_vanishes_says_so_and_comes_back():
    said, stop = [], threading.Event()
    numbers = []
    source = CameraSource(1, said.append, stop, size=(6, 4), opened=lambda _: FakeCamera())
    for frame in source.frames():
        numbers.append(frame.number)
        if frame.number == 3:
            stop.set()
    assert numbers == [0, 1, 2, 3]
    assert said == [
        "camera 1: 6x4 at 30 fps",
        "camera 1 is gone (it gives no images): waiting until it is back",
        "camera 1 is back",
    ]
    assert frame.decode()[0, 0].tolist() == [0, 0, 255]
    assert set(FakeCamera.asked.values()) >= {6, 4}


def test_a_camera_that_was_never_there_is_an_error():
    with pytest.raises(VideoError, match="camera 7 gives no frames"):
        next(CameraSource(7, print, threading.Event(), opened=lambda _: FakeCamera(0)).frames())


def test_keys_of_the_window_steer_the_style_and_end(monkeypatch):
    pygame = pytest.importorskip("pygame", reason="the window needs pygame-ce: pip install 'starcast[live]'")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from starcast.runtime.live.sinks.window import Window

    looks = Looks(lambda **_: np.zeros(1, np.float32), Look("cat", seed=0))
    window = Window(looks, ("cat", "dog"), lambda: "figures")
    image = np.full((16, 16, 3), (200, 60, 30), np.uint8)
    result = Translated(0, 0.0, image, np.zeros_like(image), 0.01)

    def press(key, text=""):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=text))
        return window.show(result)

    try:
        assert window.show(result)
        assert tuple(pygame.display.get_surface().get_at((256, 400)))[:3] == (200, 60, 30)
        assert all(press(key) for key in (pygame.K_d, pygame.K_s, pygame.K_DOWN, pygame.K_b))
        assert looks.look == Look("dog", seed=1, psi=0.9)
        surface = pygame.display.get_surface()
        assert tuple(surface.get_at((128, 256)))[:3] == (0, 0, 0)  # the source is beside it now
        assert tuple(surface.get_at((384, 256)))[:3] == (200, 60, 30)
        assert not press(pygame.K_q)
    finally:
        window.close()


@pytest.mark.parametrize(
    ("source", "outputs", "options", "message"),
    [
        ("clip.avi", ["a.mkv"], {}, "clip.avi is no video file"),
        ("file2://x", ["a.mkv"], {}, "cannot be opened"),
        (None, ["a.txt"], {}, "a.txt cannot be recorded"),
        (None, ["http://x/y"], {}, "cannot be pushed"),
        ("rtsp://x/y", ["a.mkv"], {"camera": 1}, "--camera is for a camera"),
        ("rtsp://x/y", ["a.mkv"], {"repeat": True}, "--repeat is for files"),
        (None, ["a.mkv"], {"repeat": True}, "--repeat is for files"),
    ],
)
def test_a_wrong_use_is_one_sentence(tiny_bundle, tmp_path, monkeypatch, source, outputs, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OptionError, VideoError), match=message):
        translate_live(tiny_bundle, source, outputs, LiveOptions(**PLAIN, **options), progress=print)


def test_an_existing_recording_is_kept(tiny_bundle, clip, tmp_path):
    out = tmp_path / "out.mkv"
    out.write_bytes(b"mine")
    done = CliRunner().invoke(root, ["live", str(tiny_bundle), str(clip), "-o", str(out)], standalone_mode=False)
    assert isinstance(done.exception, OptionError)
    assert out.read_bytes() == b"mine"


def test_the_size_of_a_camera_is_width_by_height():
    assert LiveOptions(camera_size="1280x720").asked_size == (1280, 720)
    with pytest.raises(OptionError, match="WIDTHxHEIGHT"):
        LiveOptions(camera_size="720p")
