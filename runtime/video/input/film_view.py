"""A film that shows another one in a different way: what it does not change is that film's own."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Any

from starcast.runtime.video.input.film import Film

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item


class FilmView(Film):
    """Everything of `film`, whatever `Film` has. Subclasses change what they name."""

    def __init__(self, film: Film) -> None:
        self.film = film

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        return self.film.read(audio_to_decode)

    def close(self) -> None:
        self.film.close()

    def __getattr__(self, name: str) -> Any:
        if name == "film":  # not yet set
            raise AttributeError(name)
        return getattr(self.film, name)


def _of_film(name: str) -> Any:
    return property(lambda view: getattr(view.film, name))


_DERIVED = ("duration_s",)  # from what a view may change
# what Film gives a default or a docstring would otherwise hide the film's own
for _name in vars(Film):
    if not _name.startswith("_") and _name not in (*vars(FilmView), *_DERIVED):
        setattr(FilmView, _name, _of_film(_name))
