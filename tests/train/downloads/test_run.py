"""`starcast download`: from the question to what lies in place, and what never does."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from faulty_server import Server, serve
from PIL import Image

from starcast.errors import DownloadError, OptionError
from starcast.train.cli import download as command
from starcast.train.downloads import archive as archive_module
from starcast.train.downloads import run as module
from starcast.train.downloads.catalogue import ITEMS
from starcast.train.downloads.run import download
from starcast.train.families.stargan_v2.networks import StarGANv2Config, averaged_copy, build_networks

ANIMALS = ("cat", "dog", "wild")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serve(Server()) as running:
        yield running


def image_bytes(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (level, 0, 0)).save(content, "PNG")
    return content.getvalue()


def archive(*, root="afhq/", others="val", domains=ANIMALS, extra=None) -> bytes:
    """An archive of a data set; `extra`: further entries, name or ZipInfo -> content."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as written:
        for number, domain in enumerate(domains):
            for split in ("train", others):
                written.writestr(f"{root}{split}/{domain}/0.png", image_bytes(number))
        for name, body in (extra or {}).items():
            written.writestr(name, body)
    return content.getvalue()


def checkpoint() -> bytes:
    config = StarGANv2Config(
        image_size=32, domains=3, style_dim=4, latent_dim=3, mapping_width=6, channel_base=64, max_channels=5
    )
    content = io.BytesIO()
    torch.save(averaged_copy(build_networks(config, 0)).state_dicts(), content)
    return content.getvalue()


def call(name, folder, server, **options):
    options = {"urls": [server.url], "ask": lambda _: True, "progress": lambda _: None, **options}
    return download(name, folder, **options)


@pytest.mark.parametrize(("root", "others"), [("afhq/", "val"), ("", "test"), ("data/afhq_v2/", "test")])
def test_a_data_set_is_unpacked_into_its_folder_wherever_the_archive_has_it(server, tmp_path, root, others):
    server.content = archive(root=root, others=others, extra={"__MACOSX/train/cat/._0.png": b"", "README": b"x"})
    assert call("afhq", tmp_path, server) == [tmp_path / "afhq"]
    images = sorted(path.relative_to(tmp_path / "afhq").as_posix() for path in (tmp_path / "afhq").rglob("*.png"))
    assert images == sorted(f"{split}/{domain}/0.png" for split in ("train", others) for domain in ANIMALS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["afhq", "afhq.download.json"]


def test_the_hash_is_shown_and_recorded_with_address_and_licence(server, tmp_path):
    server.content, lines = archive(), []
    call("afhq", tmp_path, server, urls=[server.redirected], progress=lines.append)
    wanted = hashlib.sha256(server.content).hexdigest()
    assert any(wanted in line for line in lines)
    record = json.loads((tmp_path / "afhq.download.json").read_text())
    facts = record["files"]["afhq.zip"]
    assert (facts["sha256"], facts["url"], facts["came_from"]) == (wanted, server.redirected, server.url)
    assert "NC 4.0" in record["licence"]
    assert next(i for i, line in enumerate(lines) if "Licence" in line) < next(
        i for i, line in enumerate(lines) if wanted in line
    )


def test_licence_address_and_size_come_before_the_question_and_no_leaves_nothing(server, tmp_path):
    server.content, lines, questions = archive(), [], []

    def ask(question):
        questions.append((question, list(lines)))
        return False

    with pytest.raises(DownloadError, match="--yes"):
        call("afhq", tmp_path, server, ask=ask, progress=lines.append)
    ((question, before),) = questions
    assert f"{len(server.content) / 1e6:,.1f} MB" in question
    assert any("non-commercial" in line for line in before)
    assert any(server.url in line for line in before)
    assert not list(tmp_path.iterdir())


def test_networks_are_opened_before_they_are_put_in_place(server, tmp_path):
    server.content, lines = checkpoint(), []
    (path,) = call("afhq-network", tmp_path, server, progress=lines.append)
    assert path == tmp_path / "afhq_100000_nets_ema.ckpt"
    assert path.read_bytes() == server.content
    assert any("StarGAN v2 checkpoint of 3 domains, 32 px" in line for line in lines)


def test_the_landmark_network_comes_with_the_mean_landmarks(server, tmp_path):
    saved = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2)}}, saved)
    mean = io.BytesIO()
    np.savez(mean, mean=np.zeros((98, 2)))
    with serve(Server(mean.getvalue())) as second:
        server.content = saved.getvalue()
        paths = call("wing", tmp_path, server, urls=[server.url, second.url])
    assert [path.name for path in paths] == ["wing.ckpt", "celeba_lm_mean.npz"]
    assert set(json.loads((tmp_path / "wing.download.json").read_text())["files"]) == {path.name for path in paths}
    with pytest.raises(OptionError, match=r"2 addresses.*wing.ckpt, celeba_lm_mean.npz"):
        call("wing", tmp_path, server)


def flipped(content):
    """An archive with a changed byte within its first image."""
    place = 30 + len("afhq/train/cat/0.png") + 20
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: archive(domains=("female", "male")), "lacks the folders .* cat, dog, wild"),
        (lambda: archive(root="x/y/", others="rest"), "lacks the folders"),
        (lambda: archive(extra={"../../evil.png": b"x"}), "leads out of the folder"),
        (lambda: archive(extra={"/etc/evil.png": b"x"}), "leads out of the folder"),
        (lambda: archive(extra={"afhq\\..\\..\\evil.png": b"x"}), "leads out of the folder"),
        (lambda: archive(extra={"C:evil.png": b"x"}), "leads out of the folder"),
        (lambda: archive(extra={link("afhq/train/cat/link"): b"/etc/passwd"}), "is a link"),
        (lambda: archive(extra={"afhq/train/cat/bomb.png": bytes(2**22)}), "which images never do"),
        (lambda: archive()[:-30], "not a zip archive"),
        (lambda: flipped(archive()), "damaged at afhq/train/cat/0.png"),
        (lambda: checkpoint(), "lacks the folders"),
        (lambda: b"Rar!\x1a\x07 not a zip", "not a zip archive"),
    ],
    ids=["another set", "no val", "up", "absolute", "backslashes", "drive", "link", "bomb", "short", "flipped bytes",
         "a checkpoint", "rar"],
)  # fmt: skip
def test_what_is_no_archive_of_the_set_leaves_nothing(server, tmp_path, monkeypatch, content, reason):
    monkeypatch.setattr(archive_module, "ALWAYS_FINE", 2**20)
    server.content = content()
    folder = tmp_path / "inner" / "data"
    with pytest.raises(DownloadError, match=reason) as caught:
        call("afhq", folder, server)
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("content", [b"not a checkpoint", b"<xml/>"])
def test_what_is_no_checkpoint_leaves_nothing(server, tmp_path, content):
    server.content = content
    with pytest.raises(DownloadError, match="100000_nets_ema.ckpt"):
        call("afhq-network", tmp_path, server)
    assert not list(tmp_path.iterdir())


def test_what_exists_is_never_replaced_unasked_and_what_is_here_is_not_fetched_again(server, tmp_path):
    server.content = archive()
    (tmp_path / "afhq").mkdir()
    (tmp_path / "afhq" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="already exists.*--overwrite"):
        call("afhq", tmp_path, server)
    assert server.asked == []
    with pytest.raises(OptionError, match=r"holds mine\.txt, which the archive lacks: move it away"):
        call("afhq", tmp_path, server, overwrite=True)
    assert (tmp_path / "afhq" / "mine.txt").read_text() == "mine"
    (tmp_path / "afhq" / "mine.txt").unlink()
    call("afhq", tmp_path, server, overwrite=True)
    asked, lines = len(server.asked), []
    call("afhq", tmp_path, server, progress=lines.append)
    assert len(server.asked) == asked
    assert any("already here" in line for line in lines)


def test_a_file_that_is_here_is_compared_with_its_record(server, tmp_path):
    server.content, lines = checkpoint(), []
    (file,) = call("afhq-network", tmp_path, server)
    asked = len(server.asked)
    call("afhq-network", tmp_path, server, progress=lines.append)
    assert any("already here" in line and "its SHA-256 is unchanged" in line for line in lines)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(OptionError, match=r"its SHA-256 differs\): give --overwrite to fetch it again"):
        call("afhq-network", tmp_path, server)
    assert len(server.asked) == asked
    call("afhq-network", tmp_path, server, overwrite=True)
    assert file.read_bytes() == server.content


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["afhq/train/cat/0.png", "afhq/train/Cat/0.PNG", "afhq/train/cat", "afhq/val"])
def test_an_archive_with_two_files_for_one_place_is_refused_and_leaves_nothing(server, tmp_path, name):
    server.content = archive(extra={name: image_bytes(9)})
    with pytest.raises(DownloadError, match="twice, so nothing is unpacked"):
        call("afhq", tmp_path, server)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_wrong_use(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert CliRunner().invoke(command, ["afhq", str(tmp_path / "file"), "--yes"]).exit_code == 2


def test_what_had_arrived_before_a_kill_is_not_fetched_again(server, tmp_path, monkeypatch):
    server.content = archive()
    monkeypatch.setattr(module, "unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        call("afhq", tmp_path, server)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = len(server.asked)
    assert call("afhq", tmp_path, server) == [tmp_path / "afhq"]
    assert len(server.asked) == asked


def killed(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "content"), [("afhq", archive), ("afhq-network", checkpoint)])
@pytest.mark.parametrize("step", ["_write_record", "shutil.rmtree"])
def test_what_was_put_in_place_before_a_kill_is_known_as_downloaded(server, tmp_path, monkeypatch, name, content, step):
    server.content, lines = content(), []
    with monkeypatch.context() as patched:
        patched.setattr(f"{module.__name__}.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            call(name, tmp_path, server, urls=[server.redirected])
    asked = len(server.asked)
    call(name, tmp_path, server, progress=lines.append)
    assert len(server.asked) == asked
    assert any("already here" in line for line in lines)
    (facts,) = json.loads((tmp_path / f"{name}.download.json").read_text())["files"].values()
    assert facts["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert facts["came_from"] == server.url
    assert not list(tmp_path.glob(".starcast-download-*"))


@pytest.mark.parametrize("change", ["wild/0.png", "wild/1.png"])
def test_what_differs_from_what_arrived_is_not_taken_for_a_download(server, tmp_path, monkeypatch, change):
    server.content = archive()
    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            call("afhq", tmp_path, server)
    (tmp_path / "afhq" / "train" / change).write_bytes(image_bytes(9))
    with pytest.raises(OptionError, match="already exists.*--overwrite"):
        call("afhq", tmp_path, server)


def test_a_record_of_the_set_before_does_not_stand_for_the_one_that_replaced_it(server, tmp_path, monkeypatch):
    server.content = archive()
    call("afhq", tmp_path, server)
    server.content = archive(extra={"afhq/train/cat/1.png": image_bytes(9)})
    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            call("afhq", tmp_path, server, overwrite=True)
    call("afhq", tmp_path, server)
    (facts,) = json.loads((tmp_path / "afhq.download.json").read_text())["files"].values()
    assert facts["sha256"] == hashlib.sha256(server.content).hexdigest()


def test_nobody_to_answer_is_a_no(server, tmp_path):
    server.content = archive()
    result = CliRunner().invoke(command, ["afhq", str(tmp_path), "--url", server.url], input="")
    assert isinstance(result.exception, DownloadError)
    result = CliRunner().invoke(command, ["afhq", str(tmp_path), "--url", server.url, "--yes"])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "afhq") in result.stdout


def test_addresses_are_the_official_scripts():
    addresses = {remote.url for item in ITEMS.values() for remote in item.files}
    keys = {
        "t9l9o3vsx2jai3z/afhq.zip", "vkzjokiwof5h8w6/afhq_v2.zip", "f7pvjij2xlpff59/celeba_hq.zip",
        "etwm810v25h42sn/100000_nets_ema.ckpt", "96fmei6c93o8b8t/100000_nets_ema.ckpt", "tjxpypwpt38926e/wing.ckpt",
        "91fth49gyb7xksk/celeba_lm_mean.npz",
    }  # fmt: skip
    assert addresses == {f"https://www.dropbox.com/s/{key}?dl=1" for key in keys}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("'gdown' is required. You can install it with 'pip install gdown'."),
         r"starcast\[download\]"),
        (RuntimeError("File not found or corrupted."), "cannot be fetched"),
        (OSError("no route"), "cannot be fetched"),
        (None, None),
    ],
)  # fmt: skip
def test_celeba_comes_through_torchvisions_class(tmp_path, monkeypatch, error, reason):
    asked = []

    def stand_in(root, **options):
        asked.append((root, options))
        if error is not None:
            raise error

    monkeypatch.setattr("torchvision.datasets.CelebA", stand_in)
    options = {"ask": lambda _: True, "progress": lambda _: None}
    if reason is None:
        assert download("celeba", tmp_path, **options) == [tmp_path / "celeba"]
    else:
        with pytest.raises((OptionError, DownloadError), match=reason):
            download("celeba", tmp_path, **options)
    assert asked == [(str(tmp_path), {"split": "all", "download": True})]
