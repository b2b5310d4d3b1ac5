from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn import Ncnn, NcnnVulkan
from starcast.runtime.engines.ncnn_graph import read_graph
from starcast.runtime.engines.ncnn_memory import held_bytes, with_small_kernels
from starcast.runtime.engines.registry import ENGINES

HINTED = re.compile(r"^Convolution (\S+) .* -23330=4,3,8,8,512$", re.MULTILINE)


def convolution(name: str, reads: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> str:
    pads = "4=1 14=1 15=1 16=1" if kernel == 3 else "4=0"
    sides = f"1={kernel} 11={kernel} 2=1 12=1 3={stride} 13={stride}"
    return f"Convolution {name} 1 1 {reads} {name} 0={outputs} {sides} 5=0 6={outputs * inputs * kernel**2} {pads}"


def narrow_graph() -> str:
    """Maps of 512 channels at 32, 16, 16 and 16 px for an image of 256 px, then three channels of the image's size."""
    lines = [
        "Input image 0 1 image",
        "Input gamma_beta 0 1 gamma_beta 0=3",
        "Pooling eighth 1 1 image eighth 0=1 1=8 11=8 2=8 12=8 5=1",
        convolution("wide", "eighth", 3, 512),
        convolution("large", "wide", 512, 512),
        convolution("halved", "large", 512, 512, stride=2),
        convolution("small.0", "halved", 512, 512),
        convolution("small.1", "small.0", 512, 512),
        convolution("pointwise", "small.1", 512, 512, kernel=1),
        convolution("three", "pointwise", 512, 3, kernel=1),
        "Interp enlarged.0 1 1 three enlarged.0 0=1 1=4.0 2=4.0",
        "Interp enlarged.1 1 1 enlarged.0 enlarged.1 0=1 1=4.0 2=4.0",
        "Reshape column 1 1 gamma_beta column 0=1 1=1 2=-1",
        "BinaryOp translation 2 1 enlarged.1 column translation 0=0",
    ]
    return "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The graph with random kernels that keep the spread of what they read."""
    path = tmp_path_factory.mktemp("narrow") / "graph.param"
    path.write_text(narrow_graph())
    draws, parts = np.random.default_rng(0), []
    for layer in read_graph(path).layers:
        if layer.kind == "Convolution":
            size = layer.whole(6)
            spread = (layer.whole(0) / size) ** 0.5
            parts += [np.zeros(1, np.float32), draws.normal(0, spread, size).astype(np.float32)]
    path.with_suffix(".bin").write_bytes(np.concatenate(parts).tobytes())
    return path


def test_only_kernels_of_small_maps_with_many_channels_are_stored_for_small_tiles(written):
    text = written.read_text()
    assert HINTED.findall(with_small_kernels(text, read_graph(written))) == ["small.0", "small.1"]
    assert re.sub(r" -23330=\S+", "", with_small_kernels(text, read_graph(written))) == text


def test_what_ncnn_holds_follows_from_the_shapes(written):
    wide = 512 * 512  # kernels
    stored = [
        512 * 3 * 36,  # wide, for tiles of 4x4: 36 numbers a kernel
        wide * 36,  # large
        wide * 9,  # halved, as in the file: a stride of 2
        wide * 16,  # small.0, for tiles of 2x2
        wide * 16,  # small.1
        wide,  # pointwise
        3 * 512,  # three
    ]
    assert held_bytes(read_graph(written)) == 4 * (sum(stored) + len(stored))  # each has a header of one number


def test_ncnn_holds_its_weights_as_it_stores_them_and_what_it_cannot_read_twice(written, ncnn_bundle):
    bundle = open_bundle(ncnn_bundle)
    [variant] = bundle.manifest.variants
    here = Bundle(written.parent, bundle.manifest, bundle.sha256)
    of = partial(msgspec.structs.replace, variant, bytes=1000)
    assert Ncnn().held_memory(here, of(file=written.name)) == held_bytes(read_graph(written))
    assert Ncnn().held_memory(here, of(file="absent.param")) == 2000
    assert NcnnVulkan().held_memory(here, of(file=written.name)) == 2000


def test_a_graph_whose_shapes_do_not_fit_stays_as_it_is(tmp_path):
    (tmp_path / "graph.param").write_text(narrow_graph().replace("0=512 1=3", "0=500 1=3"))
    graph = read_graph(tmp_path / "graph.param")
    assert with_small_kernels((tmp_path / "graph.param").read_text(), graph) == narrow_graph().replace(
        "0=512 1=3", "0=500 1=3"
    )


def test_small_tiles_give_the_numbers_of_plain_convolutions(written, monkeypatch):
    ncnn = _ncnn()
    draws = np.random.default_rng(1)
    feeds = {
        "image": draws.integers(0, 256, (1, 256, 256, 3), np.uint8),
        "gamma_beta": np.array([[9, 8, 7]], np.float32),
    }
    graph = Graph(written, weights=(written.with_suffix(".bin"),))
    made = ncnn.open(graph, EngineOptions(threads=2)).unrounded(feeds)

    def without_winograd(net, options):
        net.opt.use_winograd_convolution = False
        net.opt.num_threads = 2

    monkeypatch.setattr(ncnn, "_configure", without_winograd)
    plain = ncnn.open(graph, EngineOptions(threads=2)).unrounded(feeds)
    assert np.abs(made - plain).max() < 1e-4 * np.abs(plain).max()


PROGRAM = """
import sys
from pathlib import Path
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn import Ncnn, engine

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

engine()
path = Path(sys.argv[1])
before = resident()
session = Ncnn().open(Graph(path, weights=(path.with_suffix(".bin"),)), EngineOptions(threads=1))
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kernels_of_small_maps_take_less_memory(written):
    _ncnn()
    said = subprocess.run([sys.executable, "-c", PROGRAM, str(written)], capture_output=True, text=True, check=True)
    # 512x512 kernels: 37.7 MB for 4x4 tiles ("large"), 16.8 for 2x2 (twice), 9.4 plain (stride 2), 1.0 pointwise
    # and some of the file's 29 MB are not returned to the system; if all were for 4x4 tiles, it would be 42 MB more
    assert int(said.stdout) < 130e6


def _ncnn():
    reason = ENGINES["ncnn"].absent()
    if reason is not None:
        pytest.skip(f"ncnn is {reason}")
    return ENGINES["ncnn"]
