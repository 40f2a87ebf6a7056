"""Whoever is stopped is told what to do about it."""

import ast
import re
from pathlib import Path

import pytest

from schemas import errors

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    path
    for top in ("schemas", "pipeline", "connectors", "flows")
    for path in sorted((ROOT / top).rglob("*.py"))
]
OURS = {name for name in dir(errors) if name.endswith("Error")} | {
    "ApiUnavailable",
    "ColumnAlarm",
    "ConnectionLost",
}
WITH_CURE = OURS - {"AccountError"}
"""A broken account is a bug of ours: there is nothing to be done but to tell us."""


def without_cure(source: str) -> list[int]:
    """Lines on which an error is made that does not say what to do."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in WITH_CURE
        if not any(said.arg == "cure" and ast.unparse(said.value) != "''" for said in call.keywords)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_says_what_to_do(path):
    assert [] == without_cure(path.read_text(encoding="utf-8"))


def test_an_error_without_a_cure_would_be_found():
    assert [1, 2] == without_cure(
        "StorageError('x')\nGuardError('x', guard='y', cure='')\nBusyError('x', cure='y')"
    )


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    """An error crosses to other processes by its name, so its class is where they look for it."""
    drawn = re.findall(r"^ *[│ ]*[├└]── (\w+) +(\d+) ", errors.__doc__, re.MULTILINE)
    assert {(name, getattr(errors, name).exit_code) for name, _ in drawn} == {
        (name, int(code)) for name, code in drawn
    }
    known = {name for name, one in vars(errors).items() if isinstance(one, type)} - {"MeterfeedError"}
    assert known == {name for name, _ in drawn}
