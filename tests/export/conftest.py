"""Small networks with random weights, their graphs, and the oracle's bundle: exported once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from made_once import made_once
from numpy.typing import NDArray

from starcast.export.families.stargan_v2 import StarGANv2
from starcast.export.gate.candidates import Trial
from starcast.export.gate.images import draw_images
from starcast.export.options import ExportOptions
from starcast.export.passes.forms import apply_form
from starcast.export.precision.samples import CalibrationSet
from starcast.export.trace import trace_generator, trace_style_graph
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.train.families.stargan_v2.networks import Networks, StarGANv2Config
from starcast.train.families.stargan_v2.networks import random_networks as random_weights

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "stargan_v2_hpf0"

SMALL = StarGANv2Config(
    image_size=32, domains=3, style_dim=8, latent_dim=4, mapping_width=16, channel_base=256, max_channels=16
)


ONE = {"batch": 1, "styles": 1, "height": 32, "width": 32}

NAMES = ("ink", "photo", "chalk")


@dataclass(frozen=True)
class Traced:
    """Networks and the files of their graphs."""

    model: StarGANv2
    generator: Path
    mapping: Path
    style_encoder: Path

    @property
    def networks(self) -> Networks:
        return self.model.networks

    @property
    def config(self) -> StarGANv2Config:
        return self.model.config


def _trace_all(networks: Networks, config: StarGANv2Config, folder: Path) -> Traced:
    model = StarGANv2(
        networks, config, NAMES if config.domains == len(NAMES) else tuple(map(str, range(config.domains)))
    )
    models = {"generator": trace_generator(networks.generator, config.image_size, config.style_dim)}
    models |= {Path(graph.file).stem: trace_style_graph(graph) for graph in model.style_graphs()}
    paths = {name: folder / f"{name}.onnx" for name in models}
    for name, graph in models.items():
        ir.save(graph, paths[name])
    return Traced(model=model, **paths)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def random_networks() -> Callable[..., Networks]:
    """A function (config, seed=0) -> averaged networks with every parameter random."""
    return random_weights


@pytest.fixture(scope="session")
def trace_all() -> Callable[[Networks, StarGANv2Config, Path], Traced]:
    """A function (networks, config, folder) -> Traced."""
    return _trace_all


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """Networks for 32x32 images and three domains, and their graphs. Do not write into them."""
    return _trace_all(random_weights(SMALL), SMALL, tmp_path_factory.mktemp("small"))


@pytest.fixture
def small_checkpoint(small: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that an export reads as the small networks' checkpoint; their graphs are not traced again."""
    from starcast.export import source
    from starcast.export.families import stargan_v2
    from starcast.train.checkpoint.content import Checkpoint

    path = tmp_path / "step-000020.pt"
    path.write_bytes(b"weights")
    checkpoint = Checkpoint(
        path=path, layout="starcast", family="stargan_v2", config=small.config, domain_names=NAMES, step=20,
        averaged=small.networks.state_dicts(), networks=None, optimizers=None, options={"image_size": 32},
        dataset={"name": "drawings", "path": str(tmp_path / "gone")},
    )  # fmt: skip
    monkeypatch.setattr(source, "read_checkpoint", lambda _: checkpoint)
    monkeypatch.setattr(stargan_v2, "averaged_networks", lambda _: small.networks)
    monkeypatch.setattr(source, "trace_frame", lambda *_: ir.load(small.generator))
    monkeypatch.setattr(source, "trace_style_graph", lambda graph: ir.load(small.generator.with_name(graph.file)))
    return path


@pytest.fixture(scope="session")
def oracle_bundle(tmp_path_factory: pytest.TempPathFactory, oracle_checkpoint: Path) -> Bundle:
    """The oracle's checkpoint, exported as a user would. Do not write into it."""
    from starcast.export.write import export_bundle

    options = ExportOptions(domains=("cat", "dog", "wild"), mean_draws=100)

    def export(target: Path) -> None:
        export_bundle(oracle_checkpoint, target, options, lambda _: None)

    return open_bundle(made_once(tmp_path_factory, "oracle", export))


@pytest.fixture(scope="session")
def oracle_checkpoint() -> Path:
    """An official file with random weights."""
    return ORACLE / "100000_nets_ema.ckpt"


@pytest.fixture(scope="session")
def oracle() -> dict[str, NDArray[np.generic]]:
    """Inputs and outputs of the official program for that file."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in ("inputs", "styles", "outputs_latent", "outputs_reference"):
        with np.load(ORACLE / f"{name}.npz") as stored:
            arrays.update(stored)
    return arrays


@pytest.fixture(scope="session")
def rewritten(small) -> Callable[[str], ir.Model]:
    """A function form -> frame graph."""

    def rewrite(form: str) -> ir.Model:
        model = ir.load(small.generator)
        apply_form(model, form)
        return model

    return rewrite


@pytest.fixture(scope="session")
def drawn(small) -> CalibrationSet:
    """Textures, waves and edges with styles of every domain."""
    draws = np.random.RandomState(0)

    def trials(count: int, seed: int, domain: int | None = None) -> tuple[Trial, ...]:
        images = draw_images(count, 32, 32, seed)
        latents = torch.from_numpy(draws.standard_normal((count, small.config.latent_dim)).astype(np.float32))
        domains = torch.tensor([number % 3 if domain is None else domain for number in range(count)])
        with torch.inference_mode():
            styles = small.networks.mapping_network(latents, domains).numpy()
        return tuple(Trial(images[k : k + 1], styles[k : k + 1]) for k in range(count))

    gate = {name: trials(3, 30 + number, number) for number, name in enumerate(("ink", "photo", "chalk"))}
    return CalibrationSet(trials(12, seed=10), trials(6, seed=20), gate)


@pytest.fixture(scope="session")
def one_image() -> dict[str, int]:
    """The sizes of the small graph's dimensions."""
    return ONE
