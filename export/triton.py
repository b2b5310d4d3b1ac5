"""A model repository for NVIDIA's Triton Inference Server: a bundle's ONNX graphs, and an ensemble that joins them.

    NAME              image UINT8 [N, H, W, 3], latent FP32 [N, L], domain INT64 [N]  ->  translation UINT8 [N, H, W, 3]
    NAME-style        latent, domain  ->  style FP32 [N, S]
    NAME-product      style  ->  gamma_beta, for graphs that take the norms' scales and shifts
    NAME-generator    image, style or gamma_beta  ->  translation
    NAME-reference    image, domain  ->  style, for bundles that take references

Each is a folder with a config.pbtxt and one version. The graphs run on Triton's backend for ONNX Runtime, on CPUs and
GPUs. Where the generator takes one style for the whole batch, so does the ensemble.

Source: Triton's model_config.proto and "Ensemble Models" in its user guide.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from starcast.atomic import atomic_folder
from starcast.errors import BundleError, OptionError, printable
from starcast.runtime.bundle import Bundle
from starcast.runtime.variants import Variant

CONFIG, GRAPH, VERSION = "config.pbtxt", "model.onnx", "1"
_MARK = "# Written by starcast from a bundle."
_KINDS: dict[int, str] = {
    onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """An input or output: Triton's name of its type, and its lengths, -1 for any."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TritonModel:
    """A graph of the bundle as a model."""

    name: str
    graph: Path
    weights: tuple[Path, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def write_repository(bundle: Bundle, repository: Path) -> list[str]:
    """Write a bundle's models into a repository; other models in it stay. Returns their names, the ensemble first.

    Raises BundleError for a bundle without a graph for ONNX Runtime or without styles from latents, OptionError where
    another's model has one of the names.
    """
    models = models_of(bundle)
    name = _name_of(bundle)
    for other in (name, *(model.name for model in models)):
        _refuse_foreign(repository / other)
    for model in models:
        with atomic_folder(repository / model.name) as folder:
            (folder / VERSION).mkdir()
            shutil.copyfile(model.graph, folder / VERSION / GRAPH)
            for file in model.weights:
                shutil.copyfile(file, folder / VERSION / file.name)
            (folder / CONFIG).write_text(_config(model), "utf-8")
    with atomic_folder(repository / name) as folder:
        (folder / VERSION).mkdir()
        (folder / VERSION / ".keep").touch()  # Triton wants the folder, and many tools drop empty ones
        (folder / CONFIG).write_text(_ensemble(name, models), "utf-8")
    return [name, *(model.name for model in models)]


def models_of(bundle: Bundle) -> list[TritonModel]:
    """The graphs in the order of the ensemble's steps, then the style encoder. Raises BundleError."""
    condition, variant = bundle.manifest.condition, _variant_of(bundle)
    if condition.latent is None or bundle.manifest.source is None:
        raise BundleError(f"{bundle.path} does not translate to styles of latents: a Triton repository cannot be made")
    if set(_lengths(bundle, variant.file)) - {"image", "style", "gamma_beta"}:
        raise BundleError(f"{bundle.path} needs masks of faces, which Triton cannot make: use `starcast serve`")
    files = {"style": condition.latent.graph}
    if variant.condition == "gamma_beta":
        assert condition.product is not None
        files["product"] = condition.product.graph
    files["generator"] = variant.file
    if condition.reference is not None:
        files["reference"] = condition.reference.graph
    return [_model(bundle, f"{_name_of(bundle)}-{part}", file) for part, file in files.items()]


def _name_of(bundle: Bundle) -> str:
    name = bundle.path.resolve().name
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)


def _variant_of(bundle: Bundle) -> Variant:
    for variant in bundle.manifest.variants:
        if variant.precision == "fp32" and "onnxruntime" in variant.engines:
            return variant
    raise BundleError(f"{bundle.path} has no graph for ONNX Runtime: export it again with `--for onnxruntime`")


def _lengths(bundle: Bundle, file: str) -> list[str]:
    return [given.name for given in onnx.load(bundle.file(file), load_external_data=False).graph.input]


def _model(bundle: Bundle, name: str, file: str) -> TritonModel:
    path, _ = bundle.graph(file)
    graph = onnx.load(path, load_external_data=False).graph
    return TritonModel(
        name, path, bundle.weights(file), tuple(map(_tensor, graph.input)), tuple(map(_tensor, graph.output))
    )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    return Tensor(value.name, _KINDS[kind.elem_type], tuple(length.dim_value or -1 for length in kind.shape.dim))


def _config(model: TritonModel) -> str:
    return "\n".join([
        _MARK, f'name: "{model.name}"', 'platform: "onnxruntime_onnx"', "max_batch_size: 0",
        *_described("input", model.inputs), *_described("output", model.outputs), "",
    ])  # fmt: skip


def _ensemble(name: str, models: Sequence[TritonModel]) -> str:
    """The steps up to the generator. Tensors have the names that they have in the graphs."""
    steps = [model for model in models if not model.name.endswith("-reference")]
    made = {tensor.name for model in steps for tensor in model.outputs}
    taken = {tensor.name: tensor for model in steps for tensor in model.inputs if tensor.name not in made}
    return "\n".join([
        _MARK, f'name: "{name}"', 'platform: "ensemble"', "max_batch_size: 0",
        *_described("input", taken.values()), *_described("output", steps[-1].outputs),
        "ensemble_scheduling {", *(line for model in steps for line in _step(model)), "}", "",
    ])  # fmt: skip


def _step(model: TritonModel) -> list[str]:
    def mapped(kind: str, tensors: Sequence[Tensor]) -> list[str]:
        return [f'    {kind} {{ key: "{tensor.name}" value: "{tensor.name}" }}' for tensor in tensors]

    return [
        "  step {", f'    model_name: "{model.name}"', "    model_version: -1", *mapped("input_map", model.inputs),
        *mapped("output_map", model.outputs), "  }",
    ]  # fmt: skip


def _described(kind: str, tensors: Iterable[Tensor]) -> list[str]:
    return [
        f'{kind} {{ name: "{tensor.name}" data_type: {tensor.kind} dims: [{", ".join(map(str, tensor.shape))}] }}'
        for tensor in tensors
    ]


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    config = folder / CONFIG
    if not config.is_file() or not config.read_text("utf-8", "replace").startswith(_MARK):
        raise OptionError(f"{printable(folder)} is another model: choose another --triton, or rename the bundle")
