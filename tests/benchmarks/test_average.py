"""`starcast average`, down to its sheets and to what is kept greedily."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image
from short_runs import run_quietly

from starcast.benchmarks.cli import average
from starcast.errors import OptionError
from starcast.export.inspect import facts_of, lines_of
from starcast.options import replace_options
from starcast.train.creatures.dataset import make_dataset
from starcast.train.creatures.options import CreatureOptions
from starcast.train.families.stargan_v2.options import StarGANv2Options


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set of creatures, and a run of four steps on it with a snapshot of each."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_dataset(
        folder / "data", CreatureOptions(image_size=32, train_images=8, val_images=2, video_seconds=1)
    ).folder
    options = replace_options(
        StarGANv2Options(), image_size=32, channel_base=64, max_channels=8, style_dim=4, latent_dim=3,
        mapping_width=8, batch_size=2, steps=3, ds_steps=30, workers=0, log_every=1, sample_every=0, snapshot_every=1,
        save_every=100, device="cpu", learning_rate=1e-3,
    )  # fmt: skip
    run_quietly(data, folder / "run", options)
    return folder


def call(*words):
    return CliRunner().invoke(average, list(map(str, words)), catch_exceptions=False)


def test_a_run_becomes_a_snapshot_and_sheets_of_members_and_mix(trained, tmp_path):
    result = call(trained / "run", "--last", 2, "-o", tmp_path / "mix.pt")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "mix-reference.jpg") as sheet:
        width, height = sheet.size
    grid_width, grid_height = 8 * 34 + 2, 4 * 34 + 2  # eight columns and four rows of 32 px, with lines between
    assert (width, height) == (3 * grid_width + 2 * 12, 24 + grid_height)  # two members and the mix
    assert (tmp_path / "mix-latent.jpg").exists()
    lines = "\n".join(lines_of(facts_of(tmp_path / "mix.pt")))
    assert "average of" in lines
    assert "step-000003.snapshot.pt (50.0%)" in lines


def test_greedy_judges_drawn_creatures(trained, tmp_path):
    result = call(trained / "run", "--greedy", "--no-sheets", "-o", tmp_path / "mix.pt")
    assert result.exit_code == 0, result.output
    scores = [member["score"] for member in facts_of(tmp_path / "mix.pt")["members"]]
    assert all(0 <= score <= 1 for score in scores)
    assert list(tmp_path.iterdir()) == [tmp_path / "mix.pt"]


def test_greedy_judges_other_images_by_lpips_to_their_references(trained, tmp_path, images_alone, monkeypatch):
    from starcast.benchmarks.quality import judges

    def distances(outputs):  # of two each: translations, references
        return (outputs[0] - outputs[1]).abs().mean(dim=(1, 2, 3))[:, None].double().numpy()

    monkeypatch.setattr(judges, "open_lpips", lambda *_, **__: distances)
    result = call(trained / "run", "--greedy", "--data", images_alone, "--no-sheets", "-o", tmp_path / "mix.pt")
    assert result.exit_code == 0, result.output
    assert all(member["score"] < 1 for member in facts_of(tmp_path / "mix.pt")["members"])


def test_greedy_without_lpips_weights_says_which_file_goes_where(trained, tmp_path, images_alone, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    for where, words in [("cache/hub/checkpoints", []), ("mine", ["--lpips-weights", tmp_path / "mine"])]:
        place = re.escape(str(tmp_path / where))
        with pytest.raises(
            OptionError, match=rf"put alexnet-owt-.*\.pth into {place}, .* --lpips-weights,.*--download"
        ):
            call(trained / "run", "--greedy", "--data", images_alone, *words, "-o", tmp_path / "mix.pt")
    assert not (tmp_path / "mix.pt").exists()


def test_greedy_takes_lpips_weights_from_the_named_folder_and_fetches_them_there_when_asked(
    trained, tmp_path, images_alone, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    words = [trained / "run", "--last", 2, "--greedy", "--data", images_alone, "--no-sheets", "--overwrite",
             "--lpips-weights", tmp_path / "mine", "-o", tmp_path / "mix.pt"]  # fmt: skip

    def fetch(_url, path, **_):
        torch.save(torchvision.models.alexnet(num_classes=1).state_dict(), path)

    with monkeypatch.context() as patched:
        patched.setattr(torch.hub, "download_url_to_file", fetch)
        assert call(*words, "--download").exit_code == 0
    assert call(*words).exit_code == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("words", [["--download"], ["--lpips-weights", "."]])
def test_flags_of_the_greedy_judge_alone_are_wrong_use(trained, tmp_path, words):
    with pytest.raises(OptionError, match=f"{words[0]} is for the network that --greedy judges by"):
        call(trained / "run", *words, "-o", tmp_path / "mix.pt")


@pytest.fixture
def images_alone(tmp_path):
    domain_colours = {"checked": "red", "spotted": "green", "striped": "blue"}
    for domain in domain_colours:
        for split in ("train", "val"):
            (tmp_path / "alone" / domain / split).mkdir(parents=True)
            Image.new("RGB", (40, 32), domain_colours[domain]).save(tmp_path / "alone" / domain / split / "0.png")
    return tmp_path / "alone"


@pytest.mark.parametrize("name", ["mix.pt", "mix-reference.jpg"])
def test_what_exists_is_replaced_only_with_overwrite(trained, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OptionError, match=f"{name} already exists.*--overwrite"):
        call(trained / "run", "-o", tmp_path / "mix.pt")
    assert (tmp_path / name).read_bytes() == b"mine"
    assert call(trained / "run", "--no-sheets", "--overwrite", "-o", tmp_path / "mix.pt").exit_code == 0


@pytest.mark.parametrize("stem", ["mix", "mix[1]"])
def test_without_new_sheets_those_of_the_replaced_average_go(trained, tmp_path, stem):
    target = tmp_path / f"{stem}.pt"
    assert call(trained / "run", "--last", 2, "-o", target).exit_code == 0
    assert call(trained / "run", "--last", 2, "-o", tmp_path / f"{stem}-2.pt").exit_code == 0
    mine = tmp_path / f"{stem}-holiday.jpg"
    Image.new("RGB", (8, 8)).save(mine)
    result = call(trained / "run", "--no-sheets", "--overwrite", "-o", target)
    assert result.exit_code == 0
    others = {tmp_path / f"{stem}-2{end}" for end in (".pt", "-latent.jpg", "-reference.jpg")}
    assert set(tmp_path.iterdir()) == {target, mine, *others}
    assert f"{stem}-latent.jpg" in result.output


def test_a_member_is_never_the_target(trained):
    newest = trained / "run" / "checkpoints" / "step-000003.snapshot.pt"
    before = newest.read_bytes()
    with pytest.raises(OptionError, match="one of the checkpoints to average"):
        call(trained / "run", "--overwrite", "-o", newest)
    assert newest.read_bytes() == before


def test_without_the_images_there_are_no_grids_and_a_line_says_so(trained, tmp_path):
    (trained / "data").rename(trained / "moved")
    try:
        result = call(trained / "run", "-o", tmp_path / "mix.pt")
    finally:
        (trained / "moved").rename(trained / "data")
    assert result.exit_code == 0
    assert "No sheets" in result.output
    assert list(tmp_path.iterdir()) == [tmp_path / "mix.pt"]
