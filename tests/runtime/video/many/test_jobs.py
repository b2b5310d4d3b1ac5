"""A file of jobs: what it may say, all its mistakes at once, and one engine for each bundle."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from starcast.errors import OptionError
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator
from starcast.runtime.video.many.job_file import read_jobs
from starcast.runtime.video.many.jobs import run_jobs
from starcast.runtime.video.many.many_films import State
from starcast.runtime.video.timeline.keyframes import parse_keys


@pytest.fixture
def write(tmp_path):
    """write(text): a file of jobs."""

    def write(text):
        path = tmp_path / "night.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def run(path, bundle=None, output=None, **given):
    return run_jobs(path, bundle, output, {"preset": "ultrafast", **given}, progress=lambda line: None)


def test_jobs_of_two_bundles_open_each_engine_once(make_clip, watch, tiny_bundle, tmp_path, write, monkeypatch):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(name, frames=2)
    shutil.copytree(tiny_bundle, tmp_path / "other")
    opened, begin = [], Translator.__init__

    def count(self, bundle, **settings):
        opened.append(bundle.path.name)
        begin(self, bundle, **settings)

    monkeypatch.setattr(Translator, "__init__", count)
    path = write(f"""
bundle: {tiny_bundle}
defaults: {{crf: 30, style: {{domain: dog, seed: 7}}}}
jobs:
  - source: a.mp4
    output: dogs/
  - source: [b.mp4, c.mp4]
    bundle: other
    style: {{domain: cat, seed: 007, psi: 0.5}}
    output: cats/
  - {{source: b.mp4, fit: pad, output: dogs/padded.mkv}}
  - {{source: c.mp4, output: dogs/}}
""")
    report = run(path)
    assert opened == [tiny_bundle.name, "other"]
    targets = [str(outcome.task.target.relative_to(tmp_path)) for outcome in report.outcomes]
    assert targets == ["dogs/a.mp4", "cats/b.mp4", "cats/c.mp4", "dogs/padded.mkv", "dogs/c.mp4"]
    assert [outcome.state for outcome in report.outcomes] == [State.DONE] * 5
    [made] = read_runs(tmp_path / "cats/b.mp4.json")
    assert (made["styles"][0]["seed"], made["styles"][0]["psi"], made["options"]["crf"]) == (7, 0.5, 30)
    again = run(path)
    assert [outcome.state for outcome in again.outcomes] == [State.THERE] * 5
    assert len(opened) == 2


def test_every_mistake_is_listed_with_its_job_and_key(make_clip, tiny_bundle, tmp_path, write):
    make_clip("a.mp4", frames=2)
    path = write(f"""bundle: {tiny_bundle}
defaults: {{crff: 20}}
jobs:
  - {{source: a.mp4, domain: dog}}
  - source: a.mp4
    stile: {{domain: dog}}
  - source: missing.mp4
    domain: dog
    crf: many
  - {{source: missing.mp4, domain: dog}}
  - {{source: a.mp4, domain: cow}}
  - {{domain: dog}}
  - {{source: a.mp4, domain: dog, crf: 99}}
  - {{source: a.mp4, domain: dog, restart: true}}
  - {{source: a.mp4, domain: dog, output: x.mp4}}
  - {{source: a.mp4, domain: dog, output: X.MP4}}
  - {{source: a.mp4, domain: dog, bundle: nowhere}}
  - a.mp4
""")
    with pytest.raises(OptionError) as raised:
        run(path, output=tmp_path / "out")
    text = str(raised.value)
    assert text.startswith(f"{path} has ")
    for part in (
        "defaults, line 2: crff is unknown: did you mean crf?",
        "job 2, line 6: stile is unknown: did you mean style?",
        "job 3, line 9: crf is many: write a whole number",
    ):
        assert part in text
    # what can be looked at only where nothing is misspelt
    path.write_text(path.read_text().replace("crff", "crf").replace("stile", "style").replace("many", "9"))
    with pytest.raises(OptionError) as raised:
        run(path, output=tmp_path / "out")
    text = str(raised.value)
    for part in (
        f"job 3, line 7: {tmp_path / 'missing.mp4'} does not exist",
        f"job 4, line 10: {tmp_path / 'missing.mp4'} does not exist",
        "job 5, line 11: ",
        "job 6, line 12: it has no source",
        "job 7, line 13: --crf is 99",
        "job 10, line 16: its output",
        "job 11, line 17: ",
        "job 12, line 18: write `source: clip.mp4`",
    ):
        assert part in text, text
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jobs: [", "is no YAML in line"),
        ("jobs: &a [*a]", "aliases"),
        ("a: &a [x]\njobs: [*a, *a]", "aliases"),
        ("jobs:\n- &b {source: a}\n- <<: *b", "aliases"),
        ("jobs: !!python/object/apply:os.system ['true']", "tag"),
        ("jobs: !mine 1", "tag"),
        ("jobs:\n- source: a\n  source: b", "line 3: source is given twice"),
        ("jobs:\n- {[1]: b}", "a key is not a name"),
        ("jobs: " + "[" * 2000 + "]" * 2000, "nested|no YAML"),
        ("jobs: {}", "no list of"),
        ("a: 1\n--- \nb: 2", "no YAML"),
        ("", "no list of"),
        ("\x00", "no YAML"),
        ("jobs: []", "no list of"),
        ("#" * (2**20 + 1), "more than 1 MiB"),
    ],
    ids=range(15),
)
def test_a_file_that_holds_no_jobs_is_one_sentence(write, text, words):
    with pytest.raises(OptionError, match=words) as raised:
        run(write(text))
    assert "night.yaml" in str(raised.value)


def test_values_are_read_as_the_command_line_reads_them(make_clip, write, tmp_path):
    path = write("""
jobs:
  - source: a.mp4
    domain: 1
    seed: 010
    metadata: no
    set: [Young, "Blond_Hair"]
    labels: 1,0,0.5
    ref: ~
  - source: b.mp4
    style: {ref: faces/rex.jpg}
""")
    jobs, mistakes = read_jobs(path)
    mistakes.raise_any()
    expected = {"domain": "1", "seed": 10, "metadata": False, "set": ("Young", "Blond_Hair"), "labels": (1.0, 0.0, 0.5)}
    assert jobs[0].options == expected
    assert jobs[1].options == {"ref": tmp_path / "faces/rex.jpg"}


def test_a_style_may_be_keys_over_time_whose_references_are_beside_the_file(write, tmp_path):
    jobs, mistakes = read_jobs(write("""
jobs:
  - source: a
    style:
      - {time: 0, domain: dog, seed: 7}
      - {time: 50%, ref: "my cat's; b.jpg", psi: 0.5, ease: hold}
  - {source: a, style: "0 dog; 2s cat ref=rex.jpg"}
  - {source: a, style: keys.yaml}
"""))  # fmt: skip
    mistakes.raise_any()
    first, second = (parse_keys(job.options["style_keys"]) for job in jobs[:2])
    assert [(key.time.text, key.domain, key.seed, key.psi) for key in first] == [
        ("0", "dog", 7, None),
        ("50%", None, None, 0.5),
    ]
    assert (first[1].ref, first[1].ease) == (tmp_path / "my cat's; b.jpg", "hold")
    assert second[1].ref == tmp_path / "rex.jpg"
    assert jobs[2].options == {"style_keys": str(tmp_path / "keys.yaml")}


def test_a_style_of_a_job_takes_the_place_of_the_default(write):
    jobs, _ = read_jobs(write("defaults: {seed: 1, domain: dog}\njobs:\n- {source: a, ref: b.jpg}\n- {source: a}\n"))
    assert "seed" not in jobs[0].options
    assert jobs[1].options == {"seed": 1, "domain": "dog"}


def test_a_job_says_where_its_videos_go(make_clip, tiny_bundle, write):
    make_clip("a.mp4", frames=2)
    with pytest.raises(OptionError, match="job 1, line 1: it has no output: write `output: dogs/`, or give -o"):
        run(write("jobs: [{source: a.mp4, domain: dog}]"), tiny_bundle)


def test_options_beside_jobs_hold_for_every_job(make_clip, tiny_bundle, tmp_path, write):
    make_clip("a.mp4", frames=2)
    path = write("jobs: [{source: a.mp4, domain: dog, seed: 1}]")
    done = subprocess.run(
        [sys.executable, "-m", "starcast", "video", "--jobs", path, tiny_bundle, "-o", tmp_path / "out", "--seed", "9"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [made] = read_runs(tmp_path / "out/a.mp4.json")
    assert made["styles"][0]["seed"] == 9
