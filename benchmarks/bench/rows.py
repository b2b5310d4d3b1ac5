"""What is compared: one row is one way to run the same generator on the same pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from starcast.benchmarks.bench.method import Method
from starcast.errors import OptionError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import Backend
from starcast.runtime.engines.choose import BACKENDS
from starcast.runtime.manifest import Variant

PYTORCH = "pytorch"
EAGER = "eager"
OURS = "ours"
TORCH = "torch"
SPOKEN = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "ncnn-vulkan": "ncnn through Vulkan"}
NNCF = "nncf-openvino"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to run a model.

    `engine` is "pytorch" or a backend's name. `form` is "eager", "channels-last", "graphed" or "compiled" with PyTorch,
    else a form of the frame graph. `source` is a checkpoint, a graph or a bundle's folder, and `variant` the file of
    that bundle's variant. `size` is (height, width). `method` is how it is timed on a graphics card; rows of the
    processor have none, and are timed one run a round. `cache` is where its engine is; None: in the user's.
    """

    key: str  # what --rows calls it
    name: str
    engine: str
    precision: str
    form: str
    source: Path
    size: tuple[int, int]
    batch: int = 1
    threads: int = 1
    variant: str | None = None
    method: Method | None = None
    cache: Path | None = None

    @property
    def ours(self) -> bool:
        """Whether it runs a bundle; the others are what a user would take instead."""
        return self.variant is not None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row without a result, and the reason in words."""

    name: str
    reason: str


@dataclass(frozen=True)
class Peer:
    """A row that every model has; `quick`: also where there are two minutes for everything."""

    name: str
    engine: str
    precision: str
    form: str
    quick: bool = False


# by key, the baseline first
PEERS = {
    EAGER: Peer("PyTorch eager", PYTORCH, "fp32", "eager", quick=True),
    "eager-channels-last": Peer("PyTorch eager, channels last", PYTORCH, "fp32", "channels-last", quick=True),
    "compiled": Peer("torch.compile", PYTORCH, "fp32", "compiled"),
    "eager-bf16": Peer("PyTorch eager, bf16", PYTORCH, "bf16", "channels-last"),
    "compiled-bf16": Peer("torch.compile, bf16", PYTORCH, "bf16", "compiled"),
    "plain-onnxruntime": Peer("plain export on ONNX Runtime", "onnxruntime", "fp32", "plain", quick=True),
    "plain-openvino": Peer("plain export on OpenVINO", "openvino", "fp32", "plain", quick=True),
    NNCF: Peer("plain export on OpenVINO, NNCF's int8", "openvino", "int8", "plain"),
}


def engine_of(name: str) -> Backend:
    """An engine by its name, also one that has to be named to be used."""
    if name == TORCH:
        from starcast.export.torch_engine.engine import TorchBackend

        return TorchBackend()
    return BACKENDS[name]


def bundle_rows(bundle: Bundle, size: tuple[int, int], batch: int, threads: int) -> tuple[list[Row], list[LeftOut]]:
    """A row for every variant on every engine that it is for, and those that this machine cannot run."""
    rows, left_out = [], []
    for variant in bundle.manifest.variants:
        for engine in variant.engines:
            form = f"{variant.form_name}, one style" if variant.one_style else variant.form_name
            name = f"starcast on {SPOKEN.get(engine, engine)}, {form}, {variant.arithmetic}"
            reason = _reason_against(engine, variant, size)
            if reason is not None:
                left_out.append(LeftOut(name=name, reason=reason))
                continue
            key = "-".join((OURS, engine, *form.split(", "), variant.arithmetic)).replace(" ", "-")
            rows.append(
                Row(
                    key=key, name=name, engine=engine, precision=variant.precision, form=variant.form_name,
                    source=bundle.path, size=size, batch=batch, threads=threads, variant=variant.file,
                )
            )  # fmt: skip
    return rows, left_out


def _reason_against(engine: str, variant: Variant, size: tuple[int, int]) -> str | None:
    if engine not in BACKENDS:
        return "this starcast has no such engine"
    if variant.sizes is not None and size not in variant.sizes:
        return f"takes {', '.join(f'{rows}x{columns}' for rows, columns in variant.sizes)} only (height x width)"
    if BACKENDS[engine].on_card:
        return "runs on a graphics card: --device cuda measures it"
    return BACKENDS[engine].absent() or BACKENDS[engine].supports(variant)


def chosen(
    keys: Sequence[str], patterns: Sequence[str], *, quick: bool = False, peers: Mapping[str, Peer] = PEERS
) -> list[str]:
    """The keys that a pattern names, in their own order, the baseline always among them. Without patterns all, or
    those that are quick. Raises OptionError for a pattern that names none."""
    if not patterns:
        return [key for key in keys if not quick or key not in peers or peers[key].quick]
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            raise OptionError(f"--rows has {pattern!r}, which names none of {', '.join(keys)}")
    return [key for key in keys if key == EAGER or any(fnmatchcase(key, pattern) for pattern in patterns)]
