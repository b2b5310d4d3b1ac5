"""An interrupted film goes on with the engine that it began with, although another one may be the fastest now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starcast.errors import EngineError, MissingExtraError, OptionError, VariantMissingError
from starcast.runtime.video.restart.parts import Parts

if TYPE_CHECKING:
    from starcast.runtime.translator import Translator
    from starcast.runtime.video.film_record import FilmRecord


def open_same_engine(
    record: FilmRecord,
    open_engine: Callable[..., Translator],
    progress: Callable[[str], None],
    *,
    restart: bool,
) -> Translator:
    """The engine with which an interrupted run of the same command began. If there was none, if it cannot be opened
    any more, which a line says, or with `restart`: the one that the command's options choose.

    `open_engine` takes options of Translator in place of the command's, and raises what Translator does.
    """
    earlier = {} if restart else _earlier_engine(record)
    if earlier:
        try:
            return open_engine(**earlier)
        except (EngineError, MissingExtraError, OptionError, VariantMissingError) as error:
            progress(f"The engine of the interrupted run cannot be opened again: {error}")
    return open_engine()


def engine_facts(translator: Translator, batch: int | None) -> dict[str, str]:
    """What decides over the numbers of an engine."""
    return {**translator.facts(), "batch": str(batch or translator.batch)}


def _earlier_engine(record: FilmRecord) -> dict[str, str]:
    """The engine with which an interrupted run of the same command began, as options of Translator; empty if there was
    none."""
    facts = Parts(record.target).facts() or {}
    engine = facts.get("engine")
    if not isinstance(engine, dict) or facts.get("settings") != record.identity["settings"]:
        return {}
    choice = {"backend": engine.get("name"), "precision": engine.get("precision"), "form": engine.get("form")}
    return {name: value for name, value in choice.items() if isinstance(value, str)}
