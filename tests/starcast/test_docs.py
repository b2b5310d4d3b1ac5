"""README and docs: what they show can be typed and runs, what is generated is current, and links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import numpy as np
import pytest
from page_blocks import PAGES, ROOT, blocks_of
from PIL import Image

from starcast import errors
from starcast.cli import VERBS, root
from starcast.errors import StarcastError
from starcast.runtime import manifest, variants
from starcast.train.family_flags import choose_family

README = ROOT / "README.md"
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHOWN = sorted({
    command for block in BLOCKS if block.language == "sh"
    for command in block.commands if command.startswith("starcast ")
})  # fmt: skip
RUN_PAGES = [
    page for page in PAGES if any(block.reason is None for block in blocks_of(page) if block.language != "text")
]

# what a command gets on top, so that a page takes seconds: smaller networks, fewer steps, one round
SMALLER = {
    "dataset make": "--image-size 32 --train-images 6 --val-images 2 --video-seconds 1",
    "train": "--image-size 32 --channel-base 256 --max-channels 16 --style-dim 8 --latent-dim 4 --mapping-width 16 "
    "--steps 3 --batch 2 --sample-every 0 --log-every 1 --workers 0",
    "train --resume": "--steps 4",
    "train --family stylegan2": "--image-size 8 --capacity 2 --max-channels 8 --latent-dim 4 --mapping-depth 2 "
    "--batch 4 --sample-every 0 --workers 0",
    "export": "--mean-draws 50 --min-psnr 10",
    "bench": "--rounds 1 --rows ours-onnxruntime*",
}


def _run(folder: Path, steps: list[tuple[str, str]], traces: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/run_page.py", traces], cwd=folder, input=json.dumps(steps),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _smaller(command: str) -> str:
    words = shlex.split(command, comments=True)
    verb = " ".join(words[1:3]) if words[1] in ("dataset", "engines") else words[1]
    if verb == "train" and "--resume" in words:
        verb = "train --resume"
    elif "--family" in words:
        verb = f"train --family {words[words.index('--family') + 1]}"
    return shlex.join([*words, *SMALLER.get(verb, "").split()])


def _steps(page: Path) -> list[tuple[str, str]]:
    """What a page shows and is run, in its order. A YAML file, whose name its first line says, is written."""
    steps: list[tuple[str, str]] = []
    for block in blocks_of(page):
        if block.reason is None and block.language == "sh":
            steps += [("sh", _smaller(command)) for command in block.commands]
        elif block.reason is None and block.language == "python":
            steps.append(("python", block.text))
        elif block.language == "yaml":
            name = block.text.splitlines()[0].removeprefix("# ")
            steps.append(("python", f"from pathlib import Path\nPath({name!r}).write_text({block.text!r}, 'utf-8')"))
    return steps


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of traced networks: several pages export the run of the README."""
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def after_readme(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> Path:
    """A folder with the images that the pages speak of, and what README's commands make of them: run/, my-model/ …"""
    folder = tmp_path_factory.mktemp("readme")
    _run(folder, [("sh", _smaller("starcast dataset make -o drawn"))], traces)
    (folder / "photos").mkdir()
    for drawn, domain in (("checked", "cat"), ("spotted", "dog"), ("striped", "wild")):
        (folder / "drawn" / drawn).rename(folder / "photos" / domain)
    (folder / "drawn" / "creature.mp4").rename(folder / "clip.mp4")
    shutil.rmtree(folder / "drawn")
    (folder / "clips" / "beach").mkdir(parents=True)
    shutil.copy(folder / "clip.mp4", folder / "clips" / "beach" / "waves.mp4")
    (folder / "holiday").mkdir()
    (folder / "references").mkdir()
    rng = np.random.default_rng(7)
    names = [f"holiday/{number:02}.jpg" for number in range(12)]  # as many as an export needs for calibration
    for name in (*names, "me.jpg", "rex.jpg", "bella.jpg", "references/dog-rex.jpg", "references/wild-leo.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / name)
    _run(folder, _steps(README), traces)
    return folder


@pytest.mark.slow
def test_what_the_readme_shows_runs_in_its_order(after_readme):
    assert {"run", "my-model", "out", "dog.mp4", "loop.mp4", "me-as-dog.png"} <= {
        path.name for path in after_readme.iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN_PAGES if page != README], ids=lambda page: page.name)
def test_what_a_page_shows_runs_in_its_order(after_readme, traces, tmp_path, page):
    folder = tmp_path / "folder"
    steps = _steps(page)
    trains = any(step.startswith("starcast train") and "--resume" not in step for _, step in steps)
    made = ("run", "out", "dog.mp4*", "loop.mp4*", "me-as-*") if trains else ()  # of a model that the page replaces
    shutil.copytree(after_readme, folder, ignore=shutil.ignore_patterns(*made))
    _run(folder, steps, traces)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_has_a_language_so_that_it_is_run_or_says_why_not(page):
    assert {block.language for block in blocks_of(page)} <= {"sh", "python", "text", "json", "yaml"}
    assert len(blocks_of(page)) * 2 == page.read_text(encoding="utf-8").count("```")


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_a_block_that_is_run_holds_commands_of_starcast_alone(page):
    run = [block for block in blocks_of(page) if block.language == "sh" and block.reason is None]
    assert [line for block in run for line in block.commands if not line.startswith("starcast ")] == []


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_is_shown_has_those_options(line):
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = root
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    context = click.Context(command)
    choose_family(context, words)
    known = {flag for parameter in command.get_params(context) for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_readme_shows_the_main_jobs():
    lines = [line for block in blocks_of(README) if block.language == "sh" for line in block.commands]
    assert {line.split()[1] for line in lines} >= {"dataset", "train", "export", "translate", "video", "morph"}


def test_the_readmes_commands_are_at_most_two_lines_of_reading_away():
    for section in re.split(r"^## ", README.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        if "```sh" in section:
            before = section.partition("```sh")[0].splitlines()[1:]
            assert len([line for line in before if line and not line.startswith("<!--")]) <= 2, section


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 90
    speed = README.read_text(encoding="utf-8").partition("<!-- end of table -->")[0]
    assert len([line for line in speed.splitlines() if line.startswith("|")]) - 2 <= 6


def test_every_command_is_shown():
    assert set(VERBS) <= {line.split()[1] for line in SHOWN}


def test_what_is_generated_is_current():
    # in a fresh process: a click command keeps the help flags of the context that another test first gave it
    script = """
import generate
print([page.name for page, made in generate.pages().items() if page.read_text(encoding="utf-8") != made])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "docs", capture_output=True, text=True)
    assert done.stdout.strip() == "[]", f"run `make docs`: {done.stdout}{done.stderr}"


def test_every_error_family_has_its_place_in_troubleshooting():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    families = {name for name, kind in vars(errors).items() if isinstance(kind, type) and kind is not StarcastError}
    assert {name for name in families if f"`{name}`" not in text} == set()


def test_every_field_of_a_manifest_is_described():
    text = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    structs = [
        kind
        for kind in (vars(manifest) | vars(variants)).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    fields = {field for struct in structs for field in struct.__struct_fields__}
    assert {field for field in fields if f"`{field}`" not in text} == set()
    assert f"describes format {manifest.FORMAT};" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", file.read_text(), re.M)}, target


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
