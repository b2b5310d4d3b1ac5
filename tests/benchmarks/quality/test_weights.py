"""Where the judging networks' weights come from, and what is said where they are missing or foreign."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
import torch
from torch import nn

from starcast.benchmarks.quality.weights import WeightFile, alexnet_file, find_weights, inception_file, load_weights
from starcast.errors import CheckpointError, OptionError

quiet = pytest.fixture(lambda: lambda line: None)


def test_the_files_are_those_of_torchvision():
    assert inception_file().name == "inception_v3_google-0cc3c7bd.pth"
    assert alexnet_file().name == "alexnet-owt-7be5be79.pth"
    assert alexnet_file().hash_prefix == "7be5be79"


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_missing_file_is_named_with_its_place_and_nothing_is_fetched(has_folder, tmp_path, monkeypatch, quiet):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    folder = tmp_path / "weights" if has_folder else None
    place = folder or tmp_path / "torch/hub/checkpoints"
    with pytest.raises(OptionError, match=rf"put alexnet-owt-7be5be79.pth into {place}, .*--weights.*--download"):
        find_weights([alexnet_file()], folder, download=False, progress=quiet)


def test_all_missing_files_are_named_at_once(tmp_path, quiet):
    names = r"inception_v3_google-0cc3c7bd.pth and alexnet-owt-7be5be79.pth"
    with pytest.raises(OptionError, match=rf"put {names} into {tmp_path}, .* has them"):
        find_weights([inception_file(), alexnet_file()], tmp_path, download=False, progress=quiet)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_download_is_compared_with_the_hash_in_its_name(is_whole, tmp_path, quiet):
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    name = f"network-{digest[:8]}.pth"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).write_bytes(content if is_whole else content[:-1])
    server = HTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        file = WeightFile("the network", f"http://127.0.0.1:{server.server_port}/{name}")
        if is_whole:
            (weights,) = find_weights([file], tmp_path / "here", download=True, progress=quiet)
            assert (weights.path.read_bytes(), weights.is_published) == (content, True)
        else:
            with pytest.raises(OptionError, match="cannot be fetched"):
                find_weights([file], tmp_path / "here", download=True, progress=quiet)
            assert list((tmp_path / "here").iterdir()) == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _weights(path, progress=lambda line: None):
    file = WeightFile("a small network", f"https://example.org/{path.name}")
    return find_weights([file], path.parent, download=False, progress=progress)[0]


def test_a_file_that_is_not_the_published_one_is_used_and_a_line_says_so(tmp_path):
    network = nn.Linear(2, 2)
    torch.save(
        {"weight": torch.ones(2, 2), "bias": torch.zeros(2), "more": torch.ones(1)}, tmp_path / "net-00000000.pth"
    )
    lines = []
    load_weights(network, _weights(tmp_path / "net-00000000.pth", lines.append), lambda name: name)
    assert "is not the published file" in lines[0]
    assert torch.equal(network.weight, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>not found</html>", "damaged"),
        ({"weight": torch.ones(2, 2)}, "lacks bias"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, "lacks weight of shape"),
        ([1], "damaged"),
    ],
)
def test_a_file_of_other_content_is_refused_in_one_sentence(content, reason, tmp_path):
    path = tmp_path / "net-00000000.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=f"net-00000000.pth .*{reason}"):
        load_weights(nn.Linear(2, 2), _weights(path), lambda name: name)
