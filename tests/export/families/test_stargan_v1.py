"""StarGAN v1 in export: its bundles give the original's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from starcast.cli import root
from starcast.export.families.stargan_v1 import FrameGenerator, StarGANv1, open_stargan_v1
from starcast.export.gate.images import draw_images
from starcast.export.gate.reference import translate
from starcast.export.inspect import bundle_facts, lines_of, next_command
from starcast.export.model_card import model_card
from starcast.export.options import ExportOptions
from starcast.export.write import export_bundle
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.manifest import Condition, LabelMaker
from starcast.runtime.translator import Translator
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint, write_checkpoint
from starcast.train.families.stargan_v1.networks import (
    StarGANv1Config,
    averaged_copy,
    build_networks,
    random_networks,
)

ORACLE = Path(__file__).resolve().parents[2] / "oracles" / "stargan_v1"
NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("v1") / "bundle"
    images = tmp_path_factory.mktemp("images")
    for number, image in enumerate(draw_images(12, 32, 32, seed=5)):
        Image.fromarray(image).save(images / f"{number}.png")
    # the oracle's weights are random, which amplifies every rounding
    options = ExportOptions(attributes=NAMES, precision=("int8",), calibrate=images, min_psnr=15.0)
    export_bundle(ORACLE / "200000-G.ckpt", folder, options, lambda line: None)
    return folder


@pytest.fixture(scope="module")
def oracle() -> Any:
    with np.load(ORACLE / "oracle.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_a_bundle_gives_the_original_programs_images(bundle: Path, oracle: Any, backend: str) -> None:
    absence = ENGINES[backend].absent()
    if absence is not None:
        pytest.skip(f"{backend} is {absence.reason}")
    with Translator(bundle, backend=backend) as translator:
        images = translator(oracle["image_u8"], oracle["label_trg"])
        one = translator(oracle["image_u8"][:2], oracle["label_trg"][0])
    for found, right in ((images, oracle["g_instance_stats_u8"]), (one[:1], oracle["g_instance_stats_u8"][:1])):
        difference = np.abs(found.astype(int) - right.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.01


def test_its_labels_have_the_names_given_at_export(bundle: Path, oracle: Any) -> None:
    with Translator(bundle, backend="onnxruntime") as translator:
        assert translator.domains == NAMES
        own = [name for name, value in zip(NAMES, oracle["label_org"][0], strict=True) if value]
        for number, name in enumerate(NAMES):
            change = {"set": [name]} if "Hair" in name else {"flip": [name]}
            assert translator.labels(**change, has=own).tolist() == oracle["labels_celeba"][number][0].tolist()


def test_the_frames_network_is_the_trained_one_at_every_size_and_for_shared_labels() -> None:
    config = StarGANv1Config(
        image_size=16, generator_width=4, discriminator_width=2, residual_blocks=1, discriminator_layers=2,
        attributes=2, classes=2,
    )  # fmt: skip
    generator = random_networks(config).generator
    images, labels = torch.rand(3, 3, 20, 24) * 2 - 1, torch.rand(3, config.label_size)
    frames = FrameGenerator(generator)
    torch.testing.assert_close(frames(images, labels), generator(images, labels))
    torch.testing.assert_close(frames(images, labels[:1]), generator(images, labels[:1].expand(3, -1)))


def test_the_gate_tries_every_label_alone_and_together() -> None:
    config = StarGANv1Config(attributes=2, classes=2)
    model = StarGANv1(None, config, ("a", "b", "c", "d"))  # type: ignore[arg-type]
    styles = model.gate_styles(12)
    assert styles.shape == (12, 6)
    assert {tuple(style) for style in styles} >= {
        (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 1, 0), (0, 0, 1, 0, 0, 1), (0, 0, 0, 1, 0, 1), (1, 1, 0, 0, 1, 0),
    }  # fmt: skip
    assert (styles[:, 4:].sum(1) == 1).all()


def test_the_discriminators_head_reads_labels_as_the_original_does(bundle: Path, oracle: Any) -> None:
    with Translator(bundle, backend="onnxruntime") as translator:
        for image, logits in zip(oracle["image_u8"], oracle["d_cls"], strict=True):
            truth = tuple(name for name, logit in zip(NAMES, logits, strict=True) if logit > 0)
            assert translator.read_labels(image) == truth
        graph = translator.bundle.manifest.condition.classifier
        assert graph is not None
        logits = translator._session.run(graph.graph, {"image": oracle["image_u8"]})
    np.testing.assert_allclose(logits, oracle["d_cls"], atol=1e-4)


def test_without_a_discriminator_or_attributes_there_is_no_classifier() -> None:
    config = StarGANv1Config(
        image_size=16, generator_width=4, discriminator_width=2, residual_blocks=1, discriminator_layers=2,
        attributes=0, classes=2,
    )  # fmt: skip
    networks = build_networks(config, seed=0)
    for model in (
        StarGANv1(networks, config, ("a", "b"), networks.discriminator),
        StarGANv1(networks, replace(config, attributes=2, classes=0), ("a", "b")),
    ):
        assert model.style_graphs() == []
        assert model.condition(1).classifier is None


def test_commands_give_the_original_programs_images(bundle: Path, oracle: Any, tmp_path: Path) -> None:
    for number, image in enumerate(oracle["image_u8"]):
        write_image(tmp_path / f"{number}.png", image)
    checkpoint = read_checkpoint(ORACLE / "200000-G.ckpt")
    generator = averaged_networks(checkpoint).generator
    own = [name for name, value in zip(NAMES, oracle["label_org"][1], strict=True) if value]
    words = ["--domain", "all", "--has", ",".join(own) or "none", "--backend", "onnxruntime"]
    command = ["translate", str(bundle), str(tmp_path / "1.png"), "-o", str(tmp_path / "out"), *words]
    assert CliRunner().invoke(root, command, standalone_mode=False, catch_exceptions=False).exception is None
    for number, name in enumerate(NAMES):
        right = translate(generator, oracle["image_u8"][1:2], oracle["labels_celeba"][number][1:2])[0]
        found = read_image(tmp_path / "out" / name / "1.png")
        assert np.abs(found.astype(int) - right.astype(int)).max() <= 1


def test_a_checkpoint_of_ours_has_a_classifier_and_a_snapshot_has_none(tmp_path: Path) -> None:
    config = StarGANv1Config(
        image_size=16, generator_width=4, discriminator_width=2, residual_blocks=1, discriminator_layers=2,
        attributes=2, classes=1,
    )  # fmt: skip
    networks = build_networks(config, seed=0)
    for name, whole in (("whole.pt", networks), ("snapshot.pt", None)):
        facts = {"config": config, "domain_names": ("a", "b", "c"), "step": 1, "averaged": averaged_copy(networks)}
        write_checkpoint(tmp_path / name, **facts, networks=whole)
        model = open_stargan_v1(read_checkpoint(tmp_path / name), ("a", "b", "c"))
        graphs = model.style_graphs()
        assert [graph.file for graph in graphs] == (["classifier.onnx"] if whole else [])
        for graph in graphs:
            images = torch.from_numpy(graph.trials["image"])
            truth = networks.discriminator.classify(images.permute(0, 3, 1, 2) / 127.5 - 1)  # type: ignore[union-attr]
            torch.testing.assert_close(graph.network(images), truth)
            assert truth.shape == (3, 3)


def test_inspect_and_the_model_card_list_the_attributes(bundle: Path) -> None:
    facts = bundle_facts(open_bundle(bundle))
    assert (facts["attributes"], facts["classes"], facts["reads_attributes"]) == (list(NAMES), None, True)
    assert facts["next"].endswith("IMAGE --set Black_Hair -o OUT")
    lines = lines_of(facts)
    assert any(line.split() == ["attributes", *", ".join(NAMES).split()] for line in lines)
    assert any(line.endswith("attributes are read from it") for line in lines)
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "changes 5 attributes of images: Black_Hair, Blond_Hair, Brown_Hair, Male, Young. It" in card
    assert "starcast translate bundle photo.jpg --set Black_Hair -o out/" in card


@pytest.mark.parametrize(("classes", "line", "deed"), [
    (0, "photo.jpg --set Black_Hair --has none -o out/", "changes 5 attributes of images: "),
    (2, "photo.jpg --set Black_Hair --has none -o out/", "changes 3 attributes of images: Black_Hair, Blond_Hair, "
     "Brown_Hair, and translates them to 2 classes: Male, Young."),
    (5, "photo.jpg --domain Young -o out/", "translates images between 5 domains: "),
])  # fmt: skip
def test_the_first_commands_of_a_bundle_without_a_classifier_work(
    bundle: Path, classes: int, line: str, deed: str
) -> None:
    manifest = open_bundle(bundle).manifest
    labels = LabelMaker(names=NAMES, classes=classes)
    manifest = msgspec.structs.replace(manifest, condition=Condition(size=labels.size, labels=labels))
    card = model_card(manifest, StarGANv1.about, name="b", parameters=1)
    assert line in card
    assert deed in card
    command = next_command(Path("b"), manifest)
    assert command.endswith("--domain Black_Hair -o OUT" if classes == 5 else "--set Black_Hair --has none -o OUT")


def test_int8_is_judged_on_every_label_and_leaves_no_transposed_convolution_to_onnxruntime(bundle: Path) -> None:
    variants = [variant for variant in open_bundle(bundle).manifest.variants if variant.precision == "int8"]
    assert {engine for variant in variants for engine in variant.engines} == {"onnxruntime", "openvino"}
    assert all(variant.quality is not None and tuple(variant.quality.domains) == NAMES for variant in variants)
    [phases] = [variant for variant in variants if variant.engines == ("onnxruntime",)]
    assert (phases.form, phases.rewrites["spread-phases"], phases.rewrites["few-phases"]) == ("phases", 2, 1)
