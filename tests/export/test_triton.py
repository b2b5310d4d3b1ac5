"""A model repository for Triton: its configurations are Triton's, and its ensemble gives the translator's bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from starcast.errors import BundleError, OptionError
from starcast.export.triton import CONFIG, write_repository
from starcast.runtime.bundle import open_bundle
from starcast.runtime.translator import Translator

pytestmark = pytest.mark.filterwarnings("ignore")  # of grpc's own
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)


def config_of(repository: Path, name: str):
    """A model's configuration, as Triton reads it."""
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed")
    from google.protobuf import text_format

    config = text_format.Parse((repository / name / CONFIG).read_text("utf-8"), messages.ModelConfig())
    assert config.name == name
    return config


def run_ensemble(repository: Path, name: str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What Triton does with an ensemble, on ONNX Runtime."""
    kinds = {2: np.uint8, 9: np.int64, 11: np.float32}  # model_config.proto's DataType
    config, tensors = config_of(repository, name), dict(feeds)
    assert {one.name for one in config.input} == set(feeds)
    for step in config.ensemble_scheduling.step:
        model = config_of(repository, step.model_name)
        assert model.platform == "onnxruntime_onnx"
        given = {key: tensors[step.input_map[key]] for key in step.input_map}
        for one in model.input:
            assert given[one.name].dtype == kinds[one.data_type]
            assert all(length in (-1, has) for length, has in zip(one.dims, given[one.name].shape, strict=True))
        session = onnxruntime.InferenceSession(repository / step.model_name / "1/model.onnx")
        names = [one.name for one in model.output]
        for key, output in zip(names, session.run(names, given), strict=True):
            tensors[step.output_map[key]] = output
    return {one.name: tensors[one.name] for one in config.output}


@pytest.fixture(scope="module")
def repository(oracle_bundle, tmp_path_factory) -> Path:
    """The oracle's bundle, and somebody's own model."""
    repository = tmp_path_factory.mktemp("triton") / "repository"
    (repository / "theirs").mkdir(parents=True)
    names = write_repository(oracle_bundle, repository)
    assert names[0] == oracle_bundle.path.name
    assert sorted(path.name for path in repository.iterdir()) == sorted([*names, "theirs"])
    return repository


def test_the_ensemble_gives_the_translators_bytes(repository, oracle_bundle):
    latent = np.random.RandomState(7).standard_normal((1, oracle_bundle.manifest.condition.latent.size))
    feeds = {"image": IMAGES, "latent": latent.astype(np.float32), "domain": np.array([1], np.int64)}
    translation = run_ensemble(repository, oracle_bundle.path.name, feeds)["translation"]
    with Translator(oracle_bundle, backend="onnxruntime", threads=1) as translator:
        expected = translator(IMAGES, translator.style(1, seed=7))
    assert np.abs(translation.astype(int) - expected).max() <= 1
    assert np.mean(translation == expected) > 0.999


def test_it_is_written_again_but_never_over_anothers_model(repository, oracle_bundle, tmp_path):
    assert write_repository(oracle_bundle, repository)[0] == oracle_bundle.path.name
    (tmp_path / oracle_bundle.path.name).mkdir()
    with pytest.raises(OptionError, match="is another model"):
        write_repository(oracle_bundle, tmp_path)
    assert list((tmp_path / oracle_bundle.path.name).iterdir()) == []


def test_a_bundle_without_a_graph_for_onnx_runtime_is_a_sentence(ncnn_bundle, tmp_path):
    with pytest.raises(BundleError, match="--for onnxruntime"):
        write_repository(open_bundle(ncnn_bundle), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_name_that_triton_does_not_take_is_made_plain(tiny_bundle, tmp_path):
    bundle = tmp_path / "my model (ü)"
    shutil.copytree(tiny_bundle, bundle)
    assert write_repository(open_bundle(bundle), tmp_path / "repository")[0] == "my-model----"
