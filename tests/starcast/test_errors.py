from __future__ import annotations

import ast
import inspect
import re

import pytest

from starcast import errors
from starcast.errors import StarcastError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]


def test_the_module_imports_nothing():
    imports = [
        node for node in ast.walk(ast.parse(inspect.getsource(errors))) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [node.module for node in imports if isinstance(node, ast.ImportFrom)] == ["__future__"]
    assert len(imports) == 1


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = re.findall(r"^ {4}[│├└─ ]*(\w+Error) ", errors.__doc__, re.MULTILINE)
    assert sorted(drawn) == sorted(error.__name__ for error in CLASSES)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_is_starcasts_and_ends_with_1_or_2(error):
    assert issubclass(error, StarcastError)
    assert error.exit_status in (1, 2)
    assert error.__doc__
    assert str(error("one sentence")) == "one sentence"


@pytest.mark.parametrize(("error", "python"), [
    (errors.OptionError, ValueError), (errors.MissingExtraError, ImportError),
    (errors.VariantMissingError, errors.BundleError),
], ids=lambda error: error.__name__)  # fmt: skip
def test_errors_that_python_has_are_also_pythons(error, python):
    assert issubclass(error, python)
