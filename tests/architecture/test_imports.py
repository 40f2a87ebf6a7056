"""The import rules of the package docstrings, held on the syntax tree of every file that ships."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "schemas": set(),
    "pipeline": {"schemas"},
    "connectors": {"schemas"},
    "flows": {"schemas", "pipeline", "connectors", "sandbox"},
    "sandbox": set(),
}
"""For each package, which of the others it may import."""

LIBRARY_IS_FOR = {
    "prefect": ("flows/*_flow.py", "flows/blocks.py", "flows/serving.py"),
    "prefect_ray": ("flows/*_flow.py",),
    "typer": ("flows/*",),
    "rich": ("flows/*",),
    "structlog": ("flows/*",),
    "httpx": ("connectors/*", "sandbox/inprocess.py"),
    "sqlalchemy": ("connectors/*",),
}
"""Libraries that stand for a role: the files that may import them, as patterns of their path."""


def imported_modules(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, at any depth, by statement or by name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *((node.module,) if node.module else ())))
            yield from ((node.lineno, f"{prefix}.{alias.name}".lstrip(".")) for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def broken_rules(root: Path) -> list[str]:
    """`file:line imports name` for every import that the tables above do not allow."""
    found = []
    for package, allowed in MAY_IMPORT.items():
        for file in sorted((root / package).rglob("*.py")):
            path = file.relative_to(root)
            for line, name in imported_modules(ast.parse(file.read_text()), path.parent.parts):
                top = name.split(".")[0]
                ours = top in MAY_IMPORT and top != package and top not in allowed
                library = top in LIBRARY_IS_FOR and not any(
                    fnmatch(path.as_posix(), pattern) for pattern in LIBRARY_IS_FOR[top]
                )
                if ours or library:
                    found.append(f"{path.as_posix()}:{line} imports {name}")
    return found


def test_every_import_follows_the_roles():
    assert [] == broken_rules(ROOT)


SHARES_NO_CODE = {"tests/campaign/checker.py": {"pyarrow", "psycopg"}}
"""Judges of the loader, each with the libraries it may import beside Python's own; nothing of this repository."""


def foreign_to_a_judge(source: str, allowed: set[str]) -> list[str]:
    """`line imports name` for everything a judge imports that is neither Python's own nor allowed to it."""
    imported = imported_modules(ast.parse(source), ("tests", "campaign"))
    own = sys.stdlib_module_names - {"importlib", "runpy"}  # these bring in what no import statement names
    return [f"{line} imports {name}" for line, name in imported if name.split(".")[0] not in own | allowed]


@pytest.mark.parametrize("file", SHARES_NO_CODE)
def test_a_judge_of_the_loader_shares_no_code_with_it(file):
    assert [] == foreign_to_a_judge((ROOT / file).read_text(), SHARES_NO_CODE[file])


@pytest.mark.parametrize(
    "line",
    [
        "from pipeline.plan import compare",
        "import connectors.ledger",
        "def inner():\n    from schemas.ledger import State",
        "from tests.campaign.life import keys_of",
        "from .simulator import work_of",
        "from . import simulator",
        "import sandbox.core",
        "__import__('flows')",
        "import importlib; importlib.import_module('schemas')",
        "import polars",
    ],
)
def test_a_judge_that_borrows_is_found(line):
    assert foreign_to_a_judge(line, {"pyarrow", "psycopg"})


def test_every_package_says_what_it_may_import():
    for package in MAY_IMPORT:
        docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
        assert "import" in docstring.lower(), package


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("schemas/rules.py", "import pipeline.run"),
        ("schemas/rules.py", "from connectors import ledger"),
        ("pipeline/run.py", "import connectors"),
        ("pipeline/delivery/send.py", "from connectors.api import client"),
        ("pipeline/run.py", "import httpx"),
        ("pipeline/run.py", "from ..flows import cli"),
        ("pipeline/delivery/send.py", "from ...flows import cli"),
        ("connectors/api.py", "from pipeline.ports import Api"),
        ("connectors/api.py", "import importlib; importlib.import_module('pipeline.ports')"),
        ("connectors/api.py", "__import__('prefect')"),
        ("sandbox/app.py", "import schemas"),
        ("sandbox/app.py", "def inner():\n    if True:\n        from schemas import errors"),
        ("flows/cli.py", "import prefect"),
        ("flows/cli.py", "from prefect.artifacts import create_markdown_artifact"),
        ("flows/commands/load.py", "def inner():\n    from prefect import flow"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, file, line):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert [file] == [found.split(":")[0] for found in broken_rules(tmp_path)]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("pipeline/run.py", "from schemas.errors import GuardError"),
        ("pipeline/run.py", "from . import ports"),
        ("connectors/api.py", "import httpx"),
        ("flows/sync_flow.py", "import prefect"),
        ("flows/cli.py", "import sandbox.server, pipeline.run, connectors.api"),
    ],
)
def test_an_allowed_import_is_left_alone(tmp_path, file, line):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert [] == broken_rules(tmp_path)


@pytest.mark.parametrize(
    "heavy", ["prefect", "polars", "pandera", "pyarrow", "httpx", "sqlalchemy", "uvicorn"]
)
def test_help_does_not_import(heavy, modules_of_help):
    assert heavy not in modules_of_help


@pytest.fixture(scope="module")
def modules_of_help() -> set[str]:
    """Every module loaded by `meterfeed --help`, asked of a process of its own."""
    script = (
        "import sys; sys.argv = ['meterfeed', '--help']\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=240
    )
    assert "sync" in done.stdout
    return set(done.stderr.split())
