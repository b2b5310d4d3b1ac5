"""What is compared: each row is one way to run the same generator on the same inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from starcast.benchmarks.bench.method import ONE_RUN, Method
from starcast.errors import OptionError
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.variants import Variant

PYTORCH = "pytorch"
EAGER = "eager"
OURS = "ours"
TORCH = "torch"
TITLES = {
    "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "ncnn-vulkan": "ncnn through Vulkan",
    **{name: flavour.title for name, flavour in FLAVOURS.items()},
    "cuda": "ONNX Runtime, CUDA", TORCH: "torch with CUDA graphs",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rows of a table share: `size` is (height, width), `device` is "cpu" or "cuda", and `cache` is the folder
    of their compiled engines (None: the user's cache)."""

    size: tuple[int, int]
    batch: int = 1
    threads: int = 1
    device: str = "cpu"
    method: Method = ONE_RUN
    cache: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to run a model.

    `engine` is "pytorch" or an engine's name. `form` is "eager", "channels-last", "graphed" or "compiled" for PyTorch,
    otherwise a form of the frame graph. `source` is a checkpoint, a graph or a bundle's folder; `variant` is the
    file of a variant in that bundle.
    """

    setting: Setting
    key: str  # its name for --rows
    name: str
    engine: str
    precision: str
    form: str
    source: Path
    variant: str | None = None

    @property
    def ours(self) -> bool:
        """Whether the row runs a bundle. Other rows show what a user would run without starcast."""
        return self.variant is not None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row without a result, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Peer:
    """A way to run any model without starcast. `quick`: also measured by `--quick`."""

    name: str
    engine: str
    precision: str
    form: str
    quick: bool = False

    @property
    def on_graph(self) -> bool:
        """Whether the peer runs the plain export; other peers run the checkpoint."""
        return self.engine != PYTORCH


def peer_row(key: str, peer: Peer, source: Path, setting: Setting) -> Row:
    """The row of a peer."""
    return Row(
        key=key, name=peer.name, engine=peer.engine, precision=peer.precision, form=peer.form, source=source,
        setting=setting,
    )  # fmt: skip


def variant_row(engine: str, variant: Variant, bundle: Path, setting: Setting) -> Row:
    """The row of a bundle's variant on an engine."""
    return Row(
        key=key_of(engine, variant), name=name_of(engine, variant), engine=engine, precision=variant.precision,
        form=variant.form_name, source=bundle, variant=variant.file, setting=setting,
    )  # fmt: skip


def key_of(engine: str, variant: Variant) -> str:
    """The key of a variant's row, such as `ours-openvino-taps9-int8+bf16`."""
    one_style = ("one-style",) if variant.one_style else ()
    return "-".join((OURS, engine, variant.form_name, *one_style, variant.arithmetic))


def title_of(engine: str) -> str:
    """An engine's name in tables."""
    return TITLES.get(engine, engine)


def name_of(engine: str, variant: Variant) -> str:
    """The name of a variant's row, such as `starcast on OpenVINO, taps9, int8+bf16`."""
    one_style = ("one style",) if variant.one_style else ()
    return ", ".join((f"starcast on {title_of(engine)}", variant.form_name, *one_style, variant.arithmetic))


def choose_rows(
    keys: Sequence[str], patterns: Sequence[str], *, peers: Mapping[str, Peer], quick: bool = False
) -> list[str]:
    """The keys that match a pattern, in the order of `keys`; the baseline is always among them.

    Without patterns: all keys, or with `quick` all but the slow peers. Raises OptionError for an unmatched pattern.
    """
    if not patterns:
        return [key for key in keys if not quick or key not in peers or peers[key].quick]
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            raise OptionError(f"--rows: {pattern!r} matches none of {', '.join(keys)}")
    return [key for key in keys if key == EAGER or any(fnmatchcase(key, pattern) for pattern in patterns)]


def row_to_json(row: Row) -> str:
    """A row as JSON, for a worker process."""
    return json.dumps(msgspec.to_builtins(row, enc_hook=str))  # takes paths that are not UTF-8, too


def row_from_json(text: str) -> Row:
    """The row that `row_to_json` wrote."""
    return msgspec.convert(json.loads(text), Row, dec_hook=lambda kind, value: kind(value))
