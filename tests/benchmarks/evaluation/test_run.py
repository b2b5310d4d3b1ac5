"""`evaluate` on a bundle whose arithmetic is known: official keys and means, restarts, what is refused."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from graph_text import write_graph_text
from PIL import Image

from starcast.benchmarks.evaluation import run as run_module
from starcast.benchmarks.evaluation import subjects
from starcast.benchmarks.evaluation.images import read_domains
from starcast.benchmarks.evaluation.protocol import latent_draws, pairs_of, task_batches
from starcast.benchmarks.evaluation.run import evaluate
from starcast.benchmarks.evaluation.work import Work
from starcast.benchmarks.options import STYLE_MODES
from starcast.benchmarks.quality.frechet import frechet_distance
from starcast.benchmarks.quality.inception import prepare_clean, prepare_official
from starcast.errors import DatasetError, OptionError
from starcast.export.gate.reference import as_floats
from starcast.images.fit import fit
from starcast.images.read import read_image
from starcast.runtime.noise import draw_noise
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint

NAMES = ("cat", "dog", "wild")
ORACLE = Path(__file__).resolve().parents[2] / "oracles" / "stargan_v2_hpf0"


# another model: it halves the contrast, and knows no style
PALER = """
<ir_version: 8, opset_import: ["": 17]>
generator (uint8[N, H, W, 3] image, float[M, 8] style) => (uint8[N, H, W, 3] translation)
<float half = {0.5}, float[8, 3] zeros, int64[2] axes = {1, 2}>
{
    pixels = Cast <to = 1> (image)
    nothing = MatMul (style, zeros)
    offset = Unsqueeze (nothing, axes)
    pale = Mul (pixels, half)
    moved = Add (pale, offset)
    translation = Cast <to = 2> (moved)
}
"""


class Killed(BaseException):
    """Stands for `kill -9`: nothing of ours catches it."""


def _frechet(first, second):
    """As the official program: numpy's covariances, and the real part of scipy's root."""
    covariances = [np.cov(rows.astype(np.float64), rowvar=False) for rows in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    between = first.astype(np.float64).mean(axis=0) - second.astype(np.float64).mean(axis=0)
    return float(np.real((between**2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)))


def _latent_outputs(tiny_model, data, task, *, outputs=3, size=2, seed=0):
    """The outputs of a latent task by the bundle's own arithmetic, as bytes: a list of (O, N, H, W, 3), one a batch."""
    pairs = pairs_of(NAMES)
    pair = next(pair for pair in pairs if pair.name == task)
    domains = read_domains(data, None, NAMES, print, print)
    counts = [len(domain.held_out) for domain in domains]
    made = []
    for batch in task_batches(pair, pairs, counts, mode="latent", outputs=outputs, size=size, seed=seed):
        draws = latent_draws(seed, pair, batch)
        images = np.stack([fit(read_image(domains[pair.source].held_out[place]), (32, 32)) for place in batch.sources])
        latents = draws.standard_normal((outputs, len(images), 4)).astype(np.float32)
        styles = np.stack([[tiny_model.latent_style(z, pair.target) for z in row] for row in latents])
        made.append(np.stack([tiny_model.translation(images, row) for row in styles]))
    return domains, pair, made


def test_the_figures_of_a_pair_are_those_of_the_official_formulas(
    tiny_bundle, tiny_model, make_data, judges, options, tmp_path
):
    data = make_data(*NAMES)
    report = evaluate(tiny_bundle, data, tmp_path / "r.json", options(outputs=3, clean=True), judges=judges).report
    domains, pair, batches = _latent_outputs(tiny_model, data, "cat2dog")

    diversity = [judges.lpips(_floats(batch)).mean() for batch in batches]
    assert [batch.shape[1] for batch in batches] == [2, 1]  # the short last batch counts as a full one
    assert report["LPIPS_latent/cat2dog"] == pytest.approx(np.mean(diversity), rel=1e-6)

    real = [read_image(path) for path in domains[pair.target].training]
    outputs = [image for batch in batches for row in batch for image in row]
    for key, prepare in (("FID", lambda image: prepare_official(image, (32, 32))), ("cleanFID", prepare_clean)):
        features = [judges.features(np.stack([prepare(image) for image in images])) for images in (real, outputs)]
        assert report[f"{key}_latent/cat2dog"] == pytest.approx(_frechet(*features), rel=1e-4)


def test_with_tensorflows_inception_there_is_the_usual_fid_of_bytes_at_the_models_size(
    tiny_bundle, tiny_model, make_data, judges, options, tmp_path
):
    data, seen = make_data(*NAMES), []

    class Bytes(type(judges.features)):
        def __call__(self, images):
            seen.append((images.dtype, images.shape[1:]))
            return super().__call__(images)

    both = dataclasses.replace(judges, usual=Bytes(), facts={**judges.facts, "tensorflow inception": {"sha256": "tf"}})
    report = evaluate(tiny_bundle, data, tmp_path / "r.json", options(outputs=3), judges=both).report
    assert set(seen) == {(np.dtype(np.uint8), (3, 32, 32))}
    domains, pair, batches = _latent_outputs(tiny_model, data, "cat2dog")
    real = [fit(read_image(path), (32, 32)) for path in domains[pair.target].training]
    outputs = [image for batch in batches for row in batch for image in row]
    features = [judges.features(np.stack(images).transpose(0, 3, 1, 2)) for images in (real, outputs)]
    assert report["usualFID_latent/cat2dog"] == pytest.approx(_frechet(*features), rel=1e-4)
    assert report["about"]["weights"]["tensorflow inception"] == {"sha256": "tf"}
    without = evaluate(tiny_bundle, data, tmp_path / "w.json", options(outputs=3), judges=judges).report
    assert not [key for key in without if key.startswith("usualFID")]
    assert without["FID_latent/cat2dog"] == report["FID_latent/cat2dog"]


def _floats(batch):
    return torch.from_numpy(batch.astype(np.float64) / 127.5 - 1).permute(0, 1, 4, 2, 3)


def test_a_report_has_the_official_keys_and_the_means_over_the_pairs(tiny_bundle, make_data, judges, options, tmp_path):
    evaluate(tiny_bundle, make_data(*NAMES), tmp_path / "r.json", options(clean=True, modes=STYLE_MODES), judges=judges)
    report = json.loads((tmp_path / "r.json").read_text())
    pairs = [pair.name for pair in pairs_of(NAMES)]
    for measure in ("FID", "LPIPS", "cleanFID", "KID"):
        for mode in ("latent", "reference"):
            values = [report[f"{measure}_{mode}/{pair}"] for pair in pairs]
            assert report[f"{measure}_{mode}/mean"] == pytest.approx(np.mean(values))
    assert report["about"]["protocol"]["psi"] == 1
    assert "cat to dog" in (tmp_path / "r.html").read_text()


def test_several_seeds_give_the_mean_and_the_spread(tiny_bundle, make_data, judges, options, tmp_path):
    report = evaluate(
        tiny_bundle,
        make_data("cat", "dog"),
        tmp_path / "r.json",
        options(seeds=("0-2",)),
        judges=judges,
    ).report
    values = [report["seeds"][seed]["FID_latent/mean"] for seed in ("0", "1", "2")]
    assert len(set(values)) == 3
    assert report["FID_latent/mean"] == pytest.approx(np.mean(values))
    assert report["spread"]["FID_latent/mean"] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize("times", [1, 3])
def test_an_evaluation_that_was_killed_gives_the_report_of_an_uninterrupted_one(
    times, tiny_bundle, make_data, judges, options, tmp_path, monkeypatch
):
    data, wanted = make_data("cat", "dog"), options(seeds=("0-1",), modes=STYLE_MODES)
    evaluate(tiny_bundle, data, tmp_path / "whole/r.json", wanted, judges=judges)
    write_batch = Work.write_batch
    kept = []

    def write_and_die(self, *arguments):
        write_batch(self, *arguments)
        kept.append(arguments[:2])
        if len(kept) % 4 == 0:
            raise Killed

    monkeypatch.setattr(Work, "write_batch", write_and_die)
    for _ in range(times):
        with pytest.raises(Killed):
            evaluate(tiny_bundle, data, tmp_path / "killed/r.json", wanted, judges=judges)
    monkeypatch.setattr(Work, "write_batch", write_batch)
    evaluate(tiny_bundle, data, tmp_path / "killed/r.json", wanted, judges=judges)
    assert len(kept) == len(set(kept)) == 4 * times  # nothing was measured twice
    for name in ("r.json", "r.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["r.html", "r.json"]


def test_interrupted_work_of_another_evaluation_is_not_used(
    tiny_bundle, make_data, judges, options, tmp_path, monkeypatch
):
    data = make_data("cat", "dog")
    monkeypatch.setattr(run_module, "write_result", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        evaluate(tiny_bundle, data, tmp_path / "r.json", options(seeds=("7",)), judges=judges)
    monkeypatch.undo()
    lines = []
    evaluate(tiny_bundle, data, tmp_path / "r.json", options(overwrite=True), judges=judges, progress=lines.append)
    assert any("starting over" in line for line in lines)
    evaluate(tiny_bundle, data, tmp_path / "other.json", options(), judges=judges)
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads((tmp_path / "other.json").read_text())


def test_features_of_real_images_are_computed_once_for_all_evaluations(
    tiny_bundle, make_data, judges, options, tmp_path
):
    data = make_data("cat", "dog", training=9, held_out=1)
    made = 2 * 2 * 2  # pairs, outputs, preparations
    before = judges.features.images
    evaluate(tiny_bundle, data, tmp_path / "a.json", options(seeds=("11",), clean=True), judges=judges)
    first = judges.features.images - before
    Image.new("RGB", (40, 40), "red").save(data / "cat/train/new.png")
    evaluate(tiny_bundle, data, tmp_path / "b.json", options(seeds=("12",), clean=True), judges=judges)
    assert first in (made, made + 2 * 18)  # another test may have evaluated the same images
    assert judges.features.images - before - first == made + 2 * 10  # the cats' part only: the dogs' is cached


@pytest.mark.parametrize(("training", "held_out"), [(2, 1), (2, 33)])
def test_any_number_of_images_is_evaluated(training, held_out, tiny_bundle, make_data, judges, options, tmp_path):
    data = make_data("cat", "dog", training=training, held_out=held_out)
    report = evaluate(
        tiny_bundle,
        data,
        tmp_path / "r.json",
        options(batch=32, outputs=1 if held_out > 1 else 2, modes=STYLE_MODES),
        judges=judges,
    ).report
    assert all(np.isfinite(value) for key, value in report.items() if "/" in key)


def test_one_domain_is_evaluated_and_a_line_says_how(tiny_bundle, make_data, judges, options, tmp_path):
    lines = []
    report = evaluate(
        tiny_bundle, make_data("cat"), tmp_path / "r.json", options(), judges=judges, progress=lines.append
    ).report
    assert report["FID_latent/cat2cat"] == report["FID_latent/mean"]
    assert any("Only one domain" in line for line in lines)
    assert any(line.startswith("Left out, not in") and line.endswith(": dog, wild") for line in lines)


def test_a_distance_that_cannot_be_taken_is_null(tiny_bundle, make_data, judges, options, tmp_path):
    data = make_data("cat", "dog", training=1)
    evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["FID_latent/cat2dog"] is None
    assert report["FID_latent/mean"] is None
    assert report["LPIPS_latent/cat2dog"] > 0


def test_official_folders_and_a_folder_of_training_images_give_the_same_report(
    tiny_bundle, make_data, judges, options, tmp_path
):
    mixed = make_data("cat", "dog")
    official = make_data("cat", "dog", name="official", layout="{split}/{domain}")
    reports = [
        evaluate(tiny_bundle, mixed, tmp_path / "a.json", options(), judges=judges).report,
        evaluate(tiny_bundle, official, tmp_path / "b.json", options(), judges=judges).report,
        evaluate(
            tiny_bundle, official / "val", tmp_path / "c.json", options(training=official / "train"), judges=judges
        ).report,
    ]
    figures = [{key: value for key, value in report.items() if "/" in key} for report in reports]
    assert figures[0] == figures[1] == figures[2]


def test_without_held_out_images_the_training_images_are_translated_and_a_line_says_so(
    tiny_bundle, make_data, judges, options, tmp_path
):
    data = make_data("cat", "dog")
    for domain in ("cat", "dog"):
        shutil.rmtree(data / domain / "val")
    lines = []
    report = evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges, progress=lines.append).report
    assert report["about"]["data"]["domains"]["cat"] == {"training": 5, "held out": 5}
    assert any("no held-out images of cat" in line for line in lines)


def test_missing_training_images_are_noticed_before_any_work(tiny_bundle, make_data, judges, options, tmp_path):
    data = make_data("cat", "dog")
    shutil.rmtree(data / "dog/train")
    with pytest.raises(DatasetError, match="--train"):
        evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges)
    assert judges.features.images == 0


def test_unreadable_images_are_named_and_left_out_after_a_restart_too(
    tiny_bundle, make_data, judges, options, tmp_path, monkeypatch
):
    data = make_data("cat", "dog")
    (data / "cat/val/val00.png").write_bytes(b"no image")
    (data / "dog/train/train03.png").write_bytes(b"none either")
    monkeypatch.setattr(run_module, "write_result", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges)
    monkeypatch.undo()
    done = evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges)
    assert len(done.failed) == 2
    assert "val00.png" in done.failed[0]
    assert "train03.png" in done.failed[1]
    assert done.report["about"]["left out"] == done.failed
    assert done.report["about"]["data"]["domains"]["cat"] == {"training": 5, "held out": 2}


def test_a_finished_report_is_left_as_it_is_and_another_one_is_not_overwritten(
    tiny_bundle, make_data, judges, options, tmp_path
):
    data = make_data("cat", "dog")
    evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges)
    before = (tmp_path / "r.json").stat().st_mtime_ns
    assert evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges).was_finished
    assert (tmp_path / "r.json").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match="another evaluation"):
        evaluate(tiny_bundle, data, tmp_path / "r.json", options(outputs=3), judges=judges)
    assert not evaluate(
        tiny_bundle, data, tmp_path / "r.json", options(outputs=3, overwrite=True), judges=judges
    ).was_finished


@pytest.mark.parametrize("name", ["r.json", "r.html"])
def test_files_of_the_users_are_not_overwritten(name, tiny_bundle, make_data, judges, options, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OptionError, match=f"{name}.*--overwrite"):
        evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.json", options(), judges=judges)
    assert (tmp_path / name).read_text() == "mine"


def test_two_models_give_two_reports_and_their_difference(
    tiny_bundle, make_data, judges, options, tmp_path, rewrite_manifest
):
    data, other = make_data("cat", "dog"), tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    write_graph_text(other / "generator/plain-fp32.onnx", PALER, zeros=np.zeros((8, 3), np.float32))
    rewrite_manifest(other)
    both = evaluate(tiny_bundle, data, tmp_path / "r.json", options(against=other), judges=judges).report
    alone = evaluate(other, data, tmp_path / "other.json", options(), judges=judges).report
    assert both["against"]["FID_latent/mean"] == alone["FID_latent/mean"]
    assert both["difference"]["FID_latent/mean"] == both["FID_latent/mean"] - alone["FID_latent/mean"]
    by_report = evaluate(
        tiny_bundle, data, tmp_path / "s.json", options(against=tmp_path / "other.json"), judges=judges
    ).report
    assert by_report["difference"] == both["difference"]


def test_a_report_of_other_images_is_not_compared(tiny_bundle, make_data, judges, options, tmp_path):
    evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.json", options(), judges=judges)
    others = make_data("cat", "dog", name="others", held_out=2)
    with pytest.raises(OptionError, match="on other images"):
        evaluate(tiny_bundle, others, tmp_path / "s.json", options(against=tmp_path / "r.json"), judges=judges)


def test_domains_of_other_names_are_taken_in_order_only_if_the_numbers_agree(
    tiny_bundle, make_data, judges, options, tmp_path
):
    lines = []
    data = make_data("ape", "bee", "cow", held_out=1, training=2)
    report = evaluate(tiny_bundle, data, tmp_path / "r.json", options(), judges=judges, progress=lines.append).report
    assert "FID_latent/ape2cow" in report
    assert any("taken to be ape, bee, cow" in line for line in lines)
    with pytest.raises(OptionError, match="--domains"):
        evaluate(tiny_bundle, make_data("ape", "bee", name="two"), tmp_path / "s.json", options(), judges=judges)


def test_a_model_without_a_source_is_compared_with_a_folder_of_images(
    generator_bundle, make_data, judges, options, tmp_path
):
    data = make_data("faces", training=5, held_out=2)
    wanted = options(generate=7, clean=True)
    report = evaluate(generator_bundle, data, tmp_path / "r.json", wanted, judges=judges).report
    keys = {f"{measure}_generated/{pair}" for measure in ("FID", "cleanFID", "KID") for pair in ("all", "mean")}
    assert {key for key in report if "/" in key} == keys
    assert report["about"]["protocol"]["images"] == 7
    assert report["about"]["data"]["domains"] == {"all": {"training": 5, "held out": 0}}

    with Translator(generator_bundle, backend="onnxruntime") as translator:
        inputs, outputs = translator.bundle.manifest.noise_inputs, []
        for number, count in enumerate((2, 2, 2, 1)):
            latents = np.random.RandomState([0, 0, 0, 0, number]).standard_normal((count, 4)).astype(np.float32)
            noise = draw_noise(inputs, np.random.RandomState([0, 3, number]), count)
            outputs.append(translator.generate(translator.style(latent=latents), list(noise.values())))
    real = [read_image(path) for path in sorted((data / "faces/train").iterdir())]
    squares = [fit(image, (36, 36), "crop") for image in real]  # of 40x36
    size = translator.size
    features = [
        judges.features(np.stack([prepare_official(image, size) for image in images]))
        for images in (squares, np.concatenate(outputs))
    ]
    assert report["FID_generated/all"] == pytest.approx(_frechet(*features), rel=1e-4)


def test_a_model_of_labels_is_evaluated_label_by_label(label_bundle, tiny_model, make_data, judges, options, tmp_path):
    data = make_data("Blond_Hair", "Male")
    report = evaluate(label_bundle(), data, tmp_path / "r.json", options(), judges=judges).report
    pairs = {"Male2Blond_Hair", "Blond_Hair2Male", "mean"}
    assert {key for key in report if "/" in key} == {f"FID_labels/{pair}" for pair in pairs}  # one output: no LPIPS

    # an image of the folder Blond_Hair has that attribute, and is to get Male as well
    vector = np.array([0, 1, 0, 1, 0, 0, 0, 0], np.float32)
    held_out = [fit(read_image(path), (32, 32)) for path in sorted((data / "Blond_Hair/val").iterdir())]
    outputs = tiny_model.translation(np.stack(held_out), vector)
    real = [read_image(path) for path in sorted((data / "Male/train").iterdir())]
    features = [
        judges.features(np.stack([prepare_official(image, (32, 32)) for image in images])) for images in (real, outputs)
    ]
    assert report["FID_labels/Blond_Hair2Male"] == pytest.approx(_frechet(*features), rel=1e-3)


def test_a_number_of_images_is_for_models_without_a_source(tiny_bundle, make_data, judges, options, tmp_path):
    with pytest.raises(OptionError, match="--generate is for models"):
        evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.json", options(generate=5), judges=judges)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"against_precision": "int8"}, "--against-precision needs a bundle"),
        ({"against_backend": "openvino"}, "--against-backend needs a bundle"),
        ({"seeds": ("x",)}, "--seeds"),
    ],
)
def test_options_that_would_do_nothing_are_refused(changes, reason, tiny_bundle, make_data, judges, options, tmp_path):
    with pytest.raises(OptionError, match=reason):
        evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.json", options(**changes), judges=judges)


def test_a_report_that_is_not_json_is_refused_before_any_work(tiny_bundle, make_data, judges, options, tmp_path):
    with pytest.raises(OptionError, match=r"ends in \.json"):
        evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.txt", options(), judges=judges)


def test_an_official_checkpoint_is_judged_by_its_unrounded_outputs_for_lpips(make_data, judges, options, tmp_path):
    data = make_data("dog", "wild", training=2, held_out=1)
    path = ORACLE / "100000_nets_ema.ckpt"
    wanted = options(backend="auto", domains=NAMES)
    report = evaluate(path, data, tmp_path / "r.json", wanted, judges=judges).report
    networks = averaged_networks(read_checkpoint(path))
    size = (256, 256)
    source = as_floats(fit(read_image(data / "wild/val/val00.png"), size)[None])
    latents = np.random.RandomState([0, 0, 0, 1, 0]).standard_normal((2, 8)).astype(np.float32)
    with torch.inference_mode():
        styles = networks.mapping_network(torch.from_numpy(latents), torch.tensor([1, 1]))
        outputs = torch.cat([networks.generator(source, style[None]) for style in styles])
    assert outputs.abs().max() > 1  # what a bundle would clip
    assert report["LPIPS_latent/wild2dog"] == pytest.approx(judges.lpips(outputs[:, None]).mean(), rel=1e-5)
    levels = ((outputs.clamp(-1, 1) + 1) / 2 * 255 + 0.5).floor().byte().permute(0, 2, 3, 1).numpy()
    real = [read_image(data / f"dog/train/train0{number}.png") for number in range(2)]
    features = [
        judges.features(np.stack([prepare_official(image, size) for image in images])) for images in (real, levels)
    ]
    assert report["FID_latent/wild2dog"] == pytest.approx(frechet_distance(*features), rel=1e-3)
    assert report["about"]["protocol"]["lpips of"] == "floats"


def test_nothing_is_computed_in_tf32(tiny_bundle, make_data, judges, options, tmp_path):
    taken = []

    def lpips(outputs):
        taken.append(torch.backends.cudnn.allow_tf32)
        return judges.lpips(outputs)

    careful = dataclasses.replace(judges, lpips=lpips)
    evaluate(tiny_bundle, make_data("cat"), tmp_path / "r.json", options(), judges=careful)
    assert set(taken) == {False}


def test_the_page_shows_small_images_and_the_first_seed_alone(tiny_bundle, make_data, judges, options, tmp_path):
    evaluate(
        tiny_bundle, make_data("cat"), tmp_path / "r.json", options(seeds=("3-4",), modes=STYLE_MODES), judges=judges
    )
    page = (tmp_path / "r.html").read_text()
    strips = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(strips) == 2 * 6  # two modes; of six outputs each, three are near and three far
    widths = {Image.open(io.BytesIO(base64.b64decode(strip))).width for strip in strips}
    assert widths == {3 * 40 + 2 * 4, 4 * 40 + 3 * 4}


def test_a_bundles_graphs_get_the_same_number_of_rows_in_every_call(
    tiny_bundle, make_data, judges, options, tmp_path, monkeypatch
):
    # an engine's last digits may depend on a batch's size or on earlier batches, so a restart would change them
    counts = {"images": set(), "latents": set()}
    call, style = Translator.__call__, Translator.style

    def count_images(self, images, styles):
        counts["images"].add((len(images), len(styles)))
        return call(self, images, styles)

    def count_latents(self, *arguments, latent=None, **named):
        if latent is not None:
            counts["latents"].add(len(latent))
        return style(self, *arguments, latent=latent, **named)

    monkeypatch.setattr(Translator, "__call__", count_images)
    monkeypatch.setattr(Translator, "style", count_latents)
    evaluate(tiny_bundle, make_data("cat", "dog"), tmp_path / "r.json", options(modes=STYLE_MODES), judges=judges)
    assert all(len(of) == 1 for of in counts.values())


def test_extra_inputs_are_made_once_for_each_image_and_go_with_all_of_its_outputs():
    extra = SimpleNamespace(name="masks")
    asked = []

    class Masked:
        extra_inputs = (extra,)

        def generator(self, source, style, masks):
            return source + style[:, :1, None, None] + masks

        def extras(self, sources):
            asked.append(len(sources))
            return {"masks": (sources[..., :1].transpose(0, 3, 1, 2) * 100).astype(np.float32)}

    model = Masked()
    model.reference = torch.nn.Module()
    model.reference.forward = model.generator
    subject = object.__new__(subjects._Checkpoint)
    subject._model, subject._device, subject._batch = model, torch.device("cpu"), 2
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    styles = np.arange(6, dtype=np.float32)[:, None] * 1000
    outputs = subject.translate(images, styles)
    expected = [image / 127.5 - 1 + 1000 * row + 100 * image for row, image in enumerate((0, 1, 2, 0, 1, 2))]
    np.testing.assert_allclose(outputs[:, 0, 0, 0], expected, rtol=1e-6)
    assert asked == [3]
