"""Which engine runs which variant of a bundle."""

from __future__ import annotations

from starcast.errors import MissingExtraError, OptionError, VariantMissingError
from starcast.runtime.backends.base import Backend
from starcast.runtime.backends.onnxruntime import OnnxRuntime
from starcast.runtime.backends.openvino import OpenVINO
from starcast.runtime.bundle import Bundle, Variant

AUTO = "auto"
# `auto` takes the first that is here and can run a variant: OpenVINO was the faster one for these networks
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (OpenVINO(), OnnxRuntime())}


def available() -> tuple[str, ...]:
    """Names of the engines that are here, the preferred one first. Imports them."""
    return tuple(name for name, backend in BACKENDS.items() if backend.absent() is None)


def install_line(backend: Backend) -> str:
    """What a user types to get an engine."""
    return f"pip install 'starcast[{backend.extra}]'"


def choose(bundle: Bundle, backend: str = AUTO, precision: str = "fp32") -> tuple[Backend, Variant]:
    """An engine that is here and the variant it runs. Raises OptionError for an unknown engine, MissingExtraError for
    one that is not installed, VariantMissingError where the bundle has nothing for it."""
    if backend != AUTO and backend not in BACKENDS:
        raise OptionError(f"--backend is {backend!r}: give one of {', '.join((AUTO, *BACKENDS))}")
    variants = _of_precision(bundle, precision)
    if backend != AUTO:
        return _named(bundle, BACKENDS[backend], variants)
    here = False
    for candidate in BACKENDS.values():
        if candidate.absent() is None:
            here = True
            for variant in variants:
                if candidate.supports(variant) is None:
                    return candidate, variant
    if here:
        made_for = sorted({name for variant in variants for name in variant.backends})
        raise VariantMissingError(
            f"{bundle.path} has {precision} graphs for {' and '.join(made_for) or 'no engine'}, which are not here: "
            "install one (`starcast doctor` has the lines), or export the bundle again"
        )
    lines = " or ".join(install_line(candidate) for candidate in BACKENDS.values())
    raise MissingExtraError(f"no engine is installed that could run {bundle.path}: {lines}")


def _of_precision(bundle: Bundle, precision: str) -> list[Variant]:
    variants = [variant for variant in bundle.manifest.variants if variant.precision == precision]
    if not variants:
        has = sorted({variant.precision for variant in bundle.manifest.variants})
        raise VariantMissingError(
            f"{bundle.path} has no {precision} variant (it has {', '.join(has) or 'none at all'}): give --precision, "
            "or make another bundle with `starcast export CHECKPOINT -o BUNDLE`"
        )
    return variants


def _named(bundle: Bundle, backend: Backend, variants: list[Variant]) -> tuple[Backend, Variant]:
    reason = backend.absent()
    if reason is not None:
        raise MissingExtraError(f"{backend.name} cannot be used ({reason}): {install_line(backend)}")
    for variant in variants:
        if backend.supports(variant) is None:
            return backend, variant
    raise VariantMissingError(
        f"{bundle.path} has no {variants[0].precision} variant for {backend.name}: "
        f"give another --backend, or export the bundle again"
    )
