"""Model families, each in a separate folder. FAMILIES is the only place that lists them.

Imports no torch: `--help` reads a family's options from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from starcast.config_file import read_config
from starcast.errors import OptionError
from starcast.options import flat_fields, from_flat
from starcast.train.options import Original, TrainOptions

if TYPE_CHECKING:
    from starcast.train.families.base import Family

DEFAULT = "stargan_v2"

# name -> a package with `options.OPTIONS`, a subclass of TrainOptions, and `family.FAMILY`
FAMILIES = {
    "stargan_v2": "starcast.train.families.stargan_v2",
    "stargan_v1": "starcast.train.families.stargan_v1",
    "stylegan2": "starcast.train.families.stylegan2",
}


def options_class(name: str = DEFAULT) -> type[TrainOptions]:
    """The class of options for this family's runs. Raises OptionError for an unknown family."""
    options: type[TrainOptions] = _module(name, "options").OPTIONS
    return options


def family(name: str) -> Family:
    """The family of this name; this loads torch. Raises OptionError for an unknown one."""
    loaded: Family = _module(name, "family").FAMILY
    return loaded


def originals() -> dict[str, tuple[str, Original]]:
    """The models of every family in the sizes that their authors used: name -> family and model."""
    return {model: (name, original) for name in FAMILIES for model, original in options_class(name).originals.items()}


def read_recipe(name: str, family: str = DEFAULT, **changes: Any) -> TrainOptions:
    """The options of a family's recipe, with some of them replaced."""
    options = options_class(family)
    known = {field.name for field, _ in flat_fields(options)}
    return from_flat(options, {**read_config(options.recipes / f"{name}.toml", known), **changes})


def _module(name: str, part: str) -> Any:
    if name not in FAMILIES:
        raise OptionError(f"--family is {name!r}: give one of {', '.join(FAMILIES)}")
    return import_module(f"{FAMILIES[name]}.{part}")
