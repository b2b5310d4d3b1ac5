from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from starcast.errors import MissingExtraError, OptionError, VariantMissingError
from starcast.runtime.backends import choose as chooser
from starcast.runtime.backends.choose import BACKENDS, available, choose
from starcast.runtime.bundle import Bundle, open_bundle


class Engine:
    """A backend that is here or not."""

    def __init__(self, name: str, absent: str | None = None) -> None:
        self.name, self.extra, self._absent = name, f"extra-{name}", absent

    def absent(self) -> str | None:
        return self._absent

    def supports(self, variant) -> str | None:
        return None if self.name in variant.backends else "not made for it"


@pytest.fixture
def engines(monkeypatch):
    def use(*engines: Engine) -> None:
        monkeypatch.setattr(chooser, "BACKENDS", {engine.name: engine for engine in engines})

    return use


@pytest.fixture
def bundle(tiny_bundle) -> Bundle:
    return open_bundle(tiny_bundle)


def _with(bundle: Bundle, *variants: tuple[str, tuple[str, ...], str]) -> Bundle:
    [known] = bundle.manifest.variants
    made = tuple(
        msgspec.structs.replace(known, file=file, backends=backends, precision=precision)
        for file, backends, precision in variants
    )
    return Bundle(Path("my-model"), msgspec.structs.replace(bundle.manifest, variants=made), bundle.sha256)


def test_the_engines_are_in_the_order_of_preference():
    assert list(BACKENDS) == ["openvino", "onnxruntime"]
    assert all(backend.name == name for name, backend in BACKENDS.items())


def test_available_names_what_is_here_in_that_order(engines):
    engines(Engine("a"), Engine("b", "not installed"), Engine("c"))
    assert available() == ("a", "c")


def test_auto_takes_the_first_engine_that_is_here_and_has_a_variant(engines, bundle):
    made = _with(bundle, ("x.onnx", ("c", "b"), "fp32"), ("y.onnx", ("a",), "fp32"))
    engines(Engine("a", "not installed"), Engine("b"), Engine("c"))
    backend, variant = choose(made)
    assert (backend.name, variant.file) == ("b", "x.onnx")
    engines(Engine("a"), Engine("b"))
    assert choose(made)[1].file == "y.onnx"


def test_a_named_engine_gets_its_own_variant_of_the_precision(engines, bundle):
    engines(Engine("a"), Engine("b"))
    made = _with(bundle, ("x.onnx", ("a",), "fp32"), ("y.onnx", ("b",), "int8"), ("z.onnx", ("a", "b"), "fp32"))
    assert choose(made, "b")[1].file == "z.onnx"
    assert choose(made, "b", "int8")[1].file == "y.onnx"


def test_an_engine_that_is_not_installed_is_named_with_the_line_that_installs_it(engines, bundle):
    engines(Engine("a"), Engine("b", "not installed"))
    with pytest.raises(
        MissingExtraError, match=r"b cannot be used \(not installed\): pip install 'starcast\[extra-b\]'"
    ):
        choose(_with(bundle, ("x.onnx", ("b",), "fp32")), "b")


def test_without_any_engine_every_line_is_named(engines, bundle):
    engines(Engine("a", "not installed"), Engine("b", "not installed"))
    with pytest.raises(
        MissingExtraError, match=r"no engine is installed .*'starcast\[extra-a\]' or pip install 'starcast\[extra-b\]'"
    ):
        choose(_with(bundle, ("x.onnx", ("a",), "fp32")))


def test_an_unknown_engine_is_answered_with_the_known_ones(bundle):
    with pytest.raises(OptionError, match="--backend is 'tpu': give one of auto, openvino, onnxruntime"):
        choose(bundle, "tpu")


@pytest.mark.parametrize(("backend", "precision", "words"), [
    ("auto", "fp16", r"my-model has no fp16 variant \(it has fp32, int8\): give --precision, .*starcast export"),
    ("a", "int8", r"my-model has no int8 variant for a: give another --backend"),
    ("auto", "fp32", r"my-model has fp32 graphs for c, which are not here"),
])  # fmt: skip
def test_a_variant_that_is_not_there_is_named_with_what_is(engines, bundle, backend, precision, words):
    engines(Engine("a"), Engine("b"))
    made = _with(bundle, ("x.onnx", ("c",), "fp32"), ("y.onnx", ("b",), "int8"))
    with pytest.raises(VariantMissingError, match=words):
        choose(made, backend, precision)


def test_a_bundle_without_any_variant_says_so(engines, bundle):
    engines(Engine("a"))
    with pytest.raises(VariantMissingError, match="it has none at all"):
        choose(_with(bundle))
