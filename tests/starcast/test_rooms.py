"""Rooms know only what lies below them: no module imports in a circle, and no string names a module of a higher room.

`lint-imports` holds the arrows of import statements (test_import_contracts.py). It sees neither circles within a room
nor a module that is imported by its name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# a room -> those that it may name; the package `starcast` itself is every room's
BELOW = {
    "starcast": set[str](),
    "train": {"train"},
    "runtime": {"runtime"},
    "export": {"export", "train", "runtime"},
    "benchmarks": {"benchmarks", "export", "train", "runtime"},
}
# the command line resolves each verb when it is called, so that `--help` imports no room
ALLOWED = {"starcast.cli"}


def _module(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    parts = parts if parts[0] == "starcast" else ("starcast", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module(path): path for room in BELOW for path in sorted((REPOSITORY / room).rglob("*.py"))}


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from _nodes(other)
        else:
            yield from _nodes(child)


def _imports(module: str, text: str, known: set[str]) -> set[str]:
    """Modules of ours that a module imports, at its top or within a function."""
    found: set[str] = set()
    for node in _nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found |= {name if (name := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
    return (found & known) - {module}


def _circle(imports: dict[str, set[str]]) -> list[str]:
    """The modules of one circle in their order, the first one again at the end; none: an empty list."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(imports[module]):
            circle = walk(other, [*path, module])
            if circle:
                return circle
        done.add(module)
        return []

    return next((circle for module in imports if (circle := walk(module, []))), [])


def _higher_names(module: str, text: str) -> list[str]:
    """Strings of a module, f-strings' parts too, that name a room which it may not know."""
    if module in ALLOWED:
        return []
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 and parts[1] in BELOW else "starcast"
    tree = ast.parse(text)
    prose = {  # a docstring may speak of whom it serves
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    return [
        f"{module}:{node.lineno} {match[0]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        for match in re.finditer(r"\bstarcast\.(train|export|runtime|benchmarks)\b[\w.:]*", node.value)
        if match[1] not in BELOW[room]
    ]


def test_no_module_imports_itself_in_a_circle():
    known = set(SOURCES)
    imports = {name: _imports(name, path.read_text(encoding="utf-8"), known) for name, path in SOURCES.items()}
    assert " -> ".join(_circle(imports)) == ""


def test_no_string_names_a_module_of_a_higher_room():
    found = [line for name, path in SOURCES.items() for line in _higher_names(name, path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["import starcast.b", "from starcast import b", "from starcast.b import x", "def f():\n    from starcast import b"],
)
def test_a_circle_is_found_in_every_spelling_of_an_import(text):
    imports = {"starcast.a": _imports("starcast.a", text, {"starcast.a", "starcast.b"}), "starcast.b": {"starcast.a"}}
    assert _circle(imports) == ["starcast.a", "starcast.b", "starcast.a"]


def test_what_a_type_checker_alone_imports_makes_no_circle():
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from starcast import b"
    assert _imports("starcast.a", text, {"starcast.a", "starcast.b"}) == set()


@pytest.mark.parametrize("text", ['x = "starcast.export.write:export"', 'x = f"starcast.export.{name}"'])
def test_a_name_is_found_in_strings_and_in_parts_of_them(text):
    assert len(_higher_names("starcast.runtime.engines.registry", text)) == 1
    assert _higher_names("starcast.benchmarks.bench.rows", text) == []


def test_a_docstring_may_speak_of_a_higher_room():
    assert _higher_names("starcast.runtime.manifest", '"""Written by starcast.export.write."""') == []
