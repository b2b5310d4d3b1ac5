"""Help texts, messages, README and docs use the project's words: none of the retired ones comes back."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from page_blocks import PAGES, ROOT

from starcast.cli import VERBS, root

ROOMS = ("starcast", "train", "export", "runtime", "benchmarks")


@dataclass(frozen=True)
class Retired:
    """A pattern that is not written any more, what is written instead, and a sentence that it catches."""

    pattern: str
    instead: str
    example: str


EVERYWHERE = (
    Retired(r"(?<!model )(?<!model-)\bcards?\b", "GPU", "Build for the card that is here."),
    Retired(r"\bnought\b", "zero", "An engine that makes nought of it."),
    Retired(r"\banew\b", "start over", "Begin anew."),
    Retired(r"\btold\b", "reported, or the option's name", "What a command can be told."),
    Retired(r"\bpictures?\b", "image", "Translate pictures and folders."),
    Retired(r"\bfilms?\b", "video", "The film to write."),
    Retired(r"\bspellings?\b", "form, or rewrite", "The spelling of AdaIN."),
    Retired(r"\barithmetics?\b", "precision", "Arithmetic; auto: bf16 where the card has it."),
    Retired(r"(?<!-)\bbackends?\b", "engine", "Backends that the bundle is for."),
    Retired(r"\bcandidates?\b", "variant", "The candidates are measured."),
    Retired(r"\bmend(?:s|ed)?\b", "fix", "Mend the file."),
    Retired(r"\bbesides\b", "also", "Batches whose throughput is measured besides."),
    Retired(r"\bgraphics card\b", "GPU", "Takes a graphics card's engine."),
    Retired(r"\bof those (?:that|in|here)\b|\bthat which\b", "name the thing", "The fastest of those in the bundle."),
    Retired(r"\b(?:is|are) to (?:be|take|get)\b", "say who does it", "What an engine is to take."),
    Retired(
        r"\b(?:images?|frames?|lines?|steps?|paths?|subfolders?|GFLOP|latents?|draws) an? "
        r"(?:second|domain|image|step|frame|line|style)\b",
        "per", "Frames a second.",
    ),
)  # fmt: skip
IN_HELP = (
    Retired(r"\bwithout it\b", "default:", "Names; without it the checkpoint's."),
    Retired(r"\b(?:is|are) (?:here|there)\b", "is present, is installed", "Where it and a GPU are here."),
    Retired(r"\bsays?\b", "show, or record", "Say what a bundle is."),
    Retired(r"\bprocessors?\b", "CPU", "The processor's fastest engine."),
    Retired(r"\bat a time\b", "per batch", "Images that the engine gets at a time."),
    Retired(r"\bbut for\b", "except", "All options but for the shapes."),
    Retired(r"(?<!is )\bwhere (?:there|it|the|a)\b", "if", "CUDA where there is one."),
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
PROSE = [page for page in PAGES if page.name != "cli.md"]  # which is help texts


def _found(text: str, words: tuple[Retired, ...]) -> list[str]:
    """Every retired word in its place, with what to write instead."""
    flat = " ".join(text.split())
    return [
        f"…{flat[max(0, match.start() - 30) : match.end() + 30]}… -> {word.instead}"
        for word in words
        for match in re.finditer(word.pattern, flat, re.IGNORECASE)
    ]


def _help_texts(command: click.Command) -> str:
    """A command's own text and its options', without the flags and their metavars."""
    texts = [command.help or "", *(option.help or "" for option in command.params if isinstance(option, click.Option))]
    return "\n".join(_CODE.sub(" ", text) for text in texts)


def _commands(group: click.Group, path: str = "") -> dict[str, click.Command]:
    commands = {}
    for verb in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), verb)
        assert command is not None
        commands[f"{path}{verb}"] = command
        if isinstance(command, click.Group):
            commands |= _commands(command, f"{path}{verb} ")
    return commands


COMMANDS = {"": root, **_commands(root)}


@pytest.mark.parametrize("name", COMMANDS, ids=lambda name: name or "starcast")
def test_help_texts_have_no_retired_words(name):
    summaries = "\n".join(summary for _, summary in VERBS.values()) if not name else ""
    assert _found(_help_texts(COMMANDS[name]) + summaries, EVERYWHERE + IN_HELP) == []


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_pages_have_no_retired_words(page: Path):
    assert _found(_CODE.sub(" ", page.read_text(encoding="utf-8")), EVERYWHERE) == []


def _messages(file: Path) -> str:
    """Every string of a module that could be shown to a user: all with a space in them, except docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    strings = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )
    return "\n".join(_CODE.sub(" ", text) for text in strings if " " in text)


@pytest.mark.parametrize("room", ROOMS)
def test_messages_have_no_retired_words(room):
    found = {str(file): _found(_messages(file), EVERYWHERE) for file in sorted((ROOT / room).rglob("*.py"))}
    assert {file: words for file, words in found.items() if words} == {}


@pytest.mark.parametrize("word", EVERYWHERE + IN_HELP, ids=lambda word: word.pattern)
def test_a_retired_word_is_found_and_its_replacement_named(word):
    assert any(found.endswith(f"-> {word.instead}") for found in _found(word.example, (word,)))


def test_a_model_card_and_a_flag_are_no_retired_words():
    assert _found("The model card. Give another `--backend`, or -- in a sentence -- --backend.", EVERYWHERE) == []


@pytest.mark.parametrize("name", COMMANDS, ids=lambda name: name or "starcast")
def test_sentences_of_help_texts_are_short(name):
    for option in COMMANDS[name].params:
        for sentence in re.split(r"(?<=[.;:])\s", getattr(option, "help", None) or ""):
            assert len(sentence.split()) < 25, sentence
