"""Options hold each other as values: no field is copied from one to the next, where the copies would drift apart."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("starcast", "train", "runtime", "export", "benchmarks")
HOLDERS = ("Options", "Facts", "Plan", "Settings")  # what the names of their classes end in
# a row goes to another process as JSON, and EngineOptions, with its callback, cannot
ALLOWED = {"benchmarks/bench/worker.py EngineOptions(… of row.setting)"}


def _copies(file: str, text: str) -> list[str]:
    """Calls that give a holder two or more fields of one value under their own names."""
    found = []
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        holder = ast.unparse(call.func).rpartition(".")[2]
        copied = Counter(
            ast.unparse(given.value.value)
            for given in call.keywords
            if isinstance(given.value, ast.Attribute) and given.value.attr == given.arg
        )
        found += [
            f"{file} {holder}(… of {value})"
            for value, fields in copied.items()
            if fields > 1 and holder.endswith(HOLDERS)
        ]
    return found


def test_no_options_copy_fields_of_another_value():
    files = [path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))]
    assert len(files) > 150
    found = {
        line
        for path in files
        for line in _copies(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "StepOptions(a=given.a, b=given.b)",
        "module.EngineFacts(one=1, a=order.spec.a, b=order.spec.b)",
        "Plan(a=x.a, b=x.b, c=y.c)",
    ],
)
def test_a_copy_of_two_fields_is_found(text):
    assert len(_copies("x.py", text)) == 1


@pytest.mark.parametrize(
    "text", ["StepOptions(a=given.a, b=other.b)", "StepOptions(loss=given)", "StepOptions(a=given.b, b=given.a)"]
)
def test_one_field_a_nested_value_and_other_names_are_no_copy(text):
    assert _copies("x.py", text) == []
