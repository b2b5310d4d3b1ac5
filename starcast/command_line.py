"""Commands to paste: each word quoted for the shell of this system."""

from __future__ import annotations

import os
import shlex

WINDOWS = os.name == "nt"


def command_line(*words: object) -> str:
    """A command as a line: `starcast inspect 'my models/net (1).ckpt'`. On Windows in double quotes, as both of its
    shells read them."""
    texts = [str(word) for word in words]
    if not WINDOWS:
        return shlex.join(texts)
    return " ".join(f'"{text}"' if _needs_quotes(text) else text for text in texts)


def path_argument(path: os.PathLike[str] | str) -> str:
    """A path as an argument, before quoting: one that begins with a dash would be read as an option."""
    text = os.fspath(path)
    return f".{os.sep}{text}" if text.startswith("-") else text


def _needs_quotes(text: str) -> bool:
    return not text or any(letter.isspace() or letter in "&|<>^()@,;%!'`$#{}?*[]" for letter in text)
