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
        return " ".join(map(_quote, texts))
    return " ".join(f'"{text}"' if _needs_quotes(text) else text for text in texts)


def path_argument(path: os.PathLike[str] | str) -> str:
    """A path as an argument, before quoting: one that begins with a dash would be read as an option."""
    text = os.fspath(path)
    return f".{os.sep}{text}" if text.startswith("-") else text


def _quote(text: str) -> str:
    """A word quoted for a shell; bytes that are not UTF-8 as bash, zsh and ksh read them: $'caf\\351'."""
    if text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text):
        return shlex.quote(text)
    letters = (letter if letter.isalnum() or letter in "/._-" else _in_octal(letter) for letter in text)
    return f"$'{''.join(letters)}'"


def _in_octal(letter: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))


def _needs_quotes(text: str) -> bool:
    return not text or any(letter.isspace() or letter in "&|<>^()@,;%!'`$#{}?*[]" for letter in text)
