"""What `starcast export` can be told. Imports no torch: `--help` is made from it."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CheckedOptions):
    """Options of an export. The gate's tolerances are not among them: a graph is right or it is not written."""

    domains: tuple[str, ...] = option(
        (), "Names of the domains, in the networks' order; without it those of the checkpoint.", metavar="NAME,NAME,…"
    )
    data: str | None = option(
        None, "Name of the data set, for the model card; without it the checkpoint's.", metavar="NAME"
    )
    backends: tuple[str, ...] = option(
        (), "Engines that the bundle is for, each with the form that it runs fastest; without it openvino, onnxruntime "
        "and, where it is installed, ncnn.",
        flags=("--for",), metavar="ENGINE,…",
    )  # fmt: skip
    forms: tuple[str, ...] = option(
        (), "Forms of the frame graph for every engine, instead of each one's own; plain: as it was trained.",
        flags=("--form",), metavar="FORM,…",
    )  # fmt: skip
    without: tuple[str, ...] = option(
        (), "Exact rewrites to leave out, by name; --passes lists them.", metavar="NAME,…"
    )
    mean_draws: int = option(10_000, "Latents that each domain's mean style is taken over (for --psi).", minimum=1)
