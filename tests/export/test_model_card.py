from __future__ import annotations

import msgspec
import pytest

from starcast.export.families.stargan_v2 import StarGANv2
from starcast.export.model_card import model_card
from starcast.runtime.manifest import FORMAT, Condition, LatentMaker, Manifest, Provenance, Source
from starcast.runtime.variants import DomainQuality, Norm, Parity, Quality, Variant


def card_of(manifest: Manifest) -> str:
    return model_card(manifest, StarGANv2.about, name="my-model", parameters=33_892_995)


def manifest(*, layout: str = "starcast", dataset: str | None = "pets", domains: tuple[str, ...] = ("cat", "dog")):
    variant = Variant(
        file="generator/plain-fp32.onnx", engines=("openvino", "onnxruntime"), form="plain", precision="fp32",
        parity=Parity(worst=3.6e-5, tolerance=2e-4, levels=1, images=11, batches=(1, 2, 5, 3)),
        flop=97_291_075_584, bytes=135_510_961,
    )  # fmt: skip
    return Manifest(
        format=FORMAT,
        source=Source(channels=3, height=256, width=256, stride=16),
        condition=Condition(size=64, latent=LatentMaker(graph="mapping.onnx", size=16)),
        domains=domains,
        variants=(variant,),
        provenance=Provenance(
            family="stargan_v2", layout=layout, checkpoint="step-020000.pt", checkpoint_sha256="ab" * 32, step=20_000,
            dataset=dataset, options=None, starcast="0.1.0", torch="2.14.1", created="2026-01-01T00:00:00+00:00",
        ),
        files={},
    )  # fmt: skip


def test_a_card_says_what_the_model_is_and_how_to_run_it() -> None:
    card = card_of(manifest())
    assert card.startswith("---\nlicense: other\n")
    assert "2 domains: cat, dog" in card
    assert "256x256 pixels; other sizes work where both sides are multiples of 16" in card
    assert "33,892,995 parameters" in card
    assert "starcast translate my-model photo.jpg --domain dog --seed 7 -o out/" in card
    assert "![" in card
    assert "preview.jpg" in card


def test_a_card_gives_its_figures_with_their_origin() -> None:
    card = card_of(manifest())
    assert "| plain, fp32 | openvino, onnxruntime | 97.29 | 135.5 | 3.6e-05 | 1 |" in card
    assert "over 11 images in batches of 1, 2, 5, 3" in card
    assert "`step-020000.pt`, step 20,000" in card
    assert "ab" * 32 in card


def test_a_card_says_how_to_build_an_engine_where_there_is_a_graph_for_it() -> None:
    assert "starcast build" not in card_of(manifest())
    quality = Quality(domains={
        "cat": DomainQuality(images=6, psnr_mean=55, psnr_worst=54, ssim_mean=1, ssim_worst=1)
    })  # fmt: skip
    fp16 = Variant(
        file="generator/taps16-fused-fp16.onnx", engines=("tensorrt", "tensorrt-rtx"), form="taps16", precision="fp16",
        quality=quality, norms=(Norm(name="n", statistics="one-pass", ratio=2.5),), flop=1, bytes=1,
    )  # fmt: skip
    card = card_of(msgspec.structs.replace(manifest(), variants=(*manifest().variants, fp16)))
    assert "pip install 'starcast[tensorrt-rtx]'" in card
    assert "starcast build my-model --backend tensorrt-rtx --precision fp16" in card
    assert "--backend tensorrt-rtx --precision fp16 -o out/" in card
    assert "| taps16, fp16 | tensorrt, tensorrt-rtx | 0.00 | 0.0 | PSNR 55.0 dB, 54.0 at worst |" in card
    assert "TensorRT's PSNR is relative to float32 and was measured without a GPU" in card


def test_the_card_of_an_official_checkpoint_says_that_it_is_non_commercial() -> None:
    card = card_of(manifest(layout="official", dataset=None))
    assert "license: cc-by-nc-4.0" in card
    assert "non-commercial use, with attribution" in card
    assert "datasets:" not in card


def test_the_card_of_weights_trained_from_an_official_checkpoint_says_so_too() -> None:
    card = model_card(manifest(), StarGANv2.about, name="my-model", parameters=1, from_official=True)
    assert "license: cc-by-nc-4.0" in card
    assert "or was trained from one that has" in card


@pytest.mark.parametrize("dataset", ["my: pets", 'quo"ted', "絵"])
def test_the_name_of_a_data_set_cannot_break_the_yaml_head(dataset: str) -> None:
    head = card_of(manifest(dataset=dataset)).split("---")[1]
    escaped = dataset.replace('"', '\\"')
    assert f'datasets: ["{escaped}"]' in head


def test_a_domain_with_a_space_is_quoted_in_the_command() -> None:
    assert '--domain "big dog"' in card_of(manifest(domains=("cat", "big dog")))
