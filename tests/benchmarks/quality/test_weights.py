"""Where the judging networks' weights come from, and what is said where they are missing or foreign."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
from torch import nn

from starcast.benchmarks.quality.inception import TensorFlowInception, prepare_usual
from starcast.benchmarks.quality.weights import (
    WeightFile,
    alexnet_file,
    find_tensorflow_inception,
    find_weights,
    inception_file,
    load_weights,
)
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


TENSORFLOW = "weights-inception-2015-12-05-6726825d.pth"


def test_without_tensorflows_weights_a_line_says_where_they_go_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    lines: list[str] = []
    assert find_tensorflow_inception(tmp_path, lines.append) is None
    (line,) = lines
    assert line.startswith("FID by TensorFlow's Inception, which most papers report, is left out")
    assert f"put {TENSORFLOW} from https://" in line
    assert line.endswith(f"into {tmp_path}")


@pytest.mark.parametrize("name", [TENSORFLOW, "pt_inception-2015-12-05-6726825d.pth"])
def test_tensorflows_weights_are_found_as_torch_fidelity_and_as_pytorch_fid_name_them(name, tmp_path):
    (tmp_path / name).write_bytes(b"not the published bytes")
    lines: list[str] = []
    weights = find_tensorflow_inception(tmp_path, lines.append)
    assert (weights.path, weights.is_published) == (tmp_path / name, False)
    assert "is not the published file" in lines[0]


def test_tensorflows_network_takes_bytes_of_any_size_and_gives_the_pooled_features(tmp_path, quiet):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    draws = torch.Generator().manual_seed(2)
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        shapes = fidelity.FeatureExtractorInceptionV3("shapes", ["2048"], "no file").state_dict()
    state = {
        name: torch.zeros(value.shape, dtype=value.dtype)
        if not value.is_floating_point()
        else torch.ones(value.shape)
        if name.endswith("running_var")
        else torch.randn(value.shape, generator=draws) * (2 / value[0].numel()) ** 0.5
        if value.dim() > 1
        else torch.randn(value.shape, generator=draws) / 10 + name.endswith("bn.weight")
        for name, value in shapes.items()
    }
    torch.save(state, tmp_path / TENSORFLOW)
    network = TensorFlowInception(find_tensorflow_inception(tmp_path, quiet), torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    prepared = prepare_usual(image, (32, 48))
    assert (prepared.dtype, prepared.shape) == (np.uint8, (3, 32, 48))
    features = network(np.stack([prepared, 255 - prepared]))
    assert (features.shape, features.dtype) == ((2, 2048), np.float32)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0.01 * np.abs(features).max() > 1e-4
    np.testing.assert_allclose(network(prepared[None])[0], features[0], rtol=1e-4, atol=1e-5)
    assert network(np.zeros((0, 3, 32, 48), np.uint8)).shape == (0, 2048)


class _Code:
    def __reduce__(self):
        return print, ("run",)


def test_no_code_is_run_from_tensorflows_file_and_another_networks_is_refused(tmp_path, quiet, capsys):
    pytest.importorskip("torch_fidelity")
    torch.save({"a": _Code()}, tmp_path / TENSORFLOW)
    with pytest.raises(CheckpointError, match="is not a file of weights"):
        TensorFlowInception(find_tensorflow_inception(tmp_path, quiet), torch.device("cpu"))
    torch.save({"a": torch.zeros(1)}, tmp_path / TENSORFLOW)
    with pytest.raises(CheckpointError, match="does not hold the weights of TensorFlow's Inception: replace"):
        TensorFlowInception(find_tensorflow_inception(tmp_path, quiet), torch.device("cpu"))
    assert "run" not in capsys.readouterr().out
