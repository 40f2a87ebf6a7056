"""Would the tests notice? mutmut changes one thing at a time in the modules that must not be wrong, and counts.

    python -m tests.mutation                  # all modules, about half an hour on two idle cores
    python -m tests.mutation guards answers   # some of them
    python -m tests.mutation --show guards    # and what every surviving change was

It works on a copy of the last commit in the temporary directory. Exit code 1 when a
module stays below the score it has to reach. A change that makes the tests hang counts as noticed; one that no
test runs counts as missed. mutmut changes functions, not tables: those are held by tests that spell them out.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.postgres_server import running_postgres

ROOT = Path(__file__).resolve().parents[2]
REACHED = 0.90
"""The share of changes the tests have to notice, in each module."""


def ledger(*names: str) -> list[str]:
    """Tests of the ledger by file: on SQLite, and of PostgreSQL where it differs, without what kills or waits."""
    return [
        *(f"tests/ledger/test_{name}.py" for name in names),
        "--deselect=tests/ledger/test_ledger.py::test_a_killed_writer_leaves_no_lock",
        "-k",
        "not postgres or test_branches or test_migrations or test_moving or second_writer",
    ]


MODULES: dict[str, tuple[str, list[str]]] = {
    "guards": ("pipeline/guards.py", ["tests/unit/test_guards.py"]),
    "classifier": ("pipeline/delivery/classifier.py", ["tests/unit/test_classifier.py"]),
    "answers": ("pipeline/delivery/answers.py", ["tests/unit/test_answers.py"]),
    "retry_after": ("pipeline/delivery/retry_after.py", ["tests/unit/test_retry_after.py"]),
    "messages": ("pipeline/delivery/messages.py", ["tests/unit/test_messages.py"]),
    "sender": (
        "pipeline/delivery/sender.py",
        ["tests/delivery/test_stories.py", "tests/delivery/test_handover.py"],
    ),
    **{
        name: (f"connectors/ledger/{name}.py", ledger(*tests))
        for name, tests in {
            "store": ("rows", "branches", "folding", "identity", "ledger", "refusals", "marks"),
            "claims": ("claims",),
            "mark": ("marks", "refusals", "branches"),
            "migrations": ("migrations", "refusals", "branches"),
            "moving": ("moving", "refusals", "branches"),
            "opening": ("identity", "refusals", "branches"),
            "statements": ("rows", "branches", "ledger"),
            "tables": ("rows", "branches", "ledger"),
            "frames": ("folding", "refusals", "branches"),
            "lock": ("ledger", "refusals", "branches"),
            "journal": ("branches",),
        }.items()
    },
}
"""By short name: the file that is changed, and the tests that have to notice. Those of the same tests run as one."""

PYTEST = ["-p", "no:xdist", "-p", "no:randomly", "--hypothesis-seed=0", "--override-ini=timeout=240"]
PACKAGES = ["schemas", "pipeline", "connectors", "flows", "sandbox"]
UNDONE = (["contextmanager"], ["cache"])
"""Decorators that can as well be applied after a function, or left out."""
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the changes of one module, by mutmut's word for it."""

    module: str
    ended: dict[str, str]

    @property
    def noticed(self) -> int:
        return sum(end in NOTICED for end in self.ended.values())

    @property
    def share(self) -> float:
        return self.noticed / len(self.ended) if self.ended else 0.0

    @property
    def missed(self) -> list[str]:
        return [name for name, end in self.ended.items() if end not in NOTICED]

    def __str__(self) -> str:
        words = ", ".join(f"{n} {end}" for end, n in sorted(Counter(self.ended.values()).items()))
        return f"{self.module}: {self.noticed} of {len(self.ended)} noticed, {self.share:.1%} ({words})"


def committed(target: Path) -> Path:
    """The files of the last commit: figures are about something that can be looked up."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(target, filter="data")
    return target


def bare(source: str) -> str:
    """The same module with decorators applied after the functions: mutmut leaves decorated functions alone."""
    lines = source.splitlines()
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and [ast.unparse(one) for one in node.decorator_list] in UNDONE
    ]
    for node in sorted(found, key=lambda node: node.lineno, reverse=True):
        decorator = node.decorator_list[0]
        if ast.unparse(decorator) != "cache":  # what it keeps would hide the function from the tests
            after = f"{node.name} = {ast.unparse(decorator)}({node.name})"
            lines.insert(node.end_lineno or 0, " " * node.col_offset + after)
        del lines[decorator.lineno - 1]
    return "\n".join(lines) + "\n"


def configure(copy: Path, paths: list[str], tests: list[str]) -> None:
    """mutmut reads setup.cfg when pyproject.toml says nothing of it."""
    config = configparser.ConfigParser()
    config["mutmut"] = {
        "source_paths": "\n" + "\n".join(PACKAGES),
        "only_mutate": "\n" + "\n".join(paths),
        "also_copy": "\ndata\nbenchmarks\ndocs\ndeploy\nprefect.yaml\nMakefile\nREADME.md",
        "pytest_add_cli_args_test_selection": "\n" + "\n".join(tests),
        "pytest_add_cli_args": "\n" + "\n".join(PYTEST),
        # A busy machine must not look like a change that makes tests hang.
        "timeout_constant": "3.0",
        "track_dependencies": "false",
        "use_setproctitle": "false",
        # Threads of Polars do not survive a fork: the server forks before any exists, so the modules of the
        # tests must not start any when they are collected.
        "process_isolation": "forkserver",
    }
    with (copy / "setup.cfg").open("w") as file:
        config.write(file)


def mutmut(copy: Path, *arguments: str) -> str:
    """Run the tool in the copy and give back what it prints."""
    command = [sys.executable, "tests/mutation/forked.py", *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"mutmut {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def scores(modules: list[str], tests: list[str], *, show: bool, children: int) -> list[Score]:
    """Change some modules, that have their tests in common, in every way mutmut knows."""
    paths = [MODULES[module][0] for module in modules]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = committed(Path(folder))
        for path in paths:
            (copy / path).write_text(bare((copy / path).read_text()))
        configure(copy, paths, tests)
        log = mutmut(copy, "run", "--max-children", str(children))
        ended: dict[str, str] = {}
        for line in mutmut(copy, "results", "--all", "true").splitlines():
            name, separator, end = line.strip().rpartition(": ")
            if separator and "__mutmut_" in name:
                ended[name] = end
        found = []
        for module, path in zip(modules, paths, strict=True):
            start = path.removesuffix(".py").replace("/", ".") + "."
            one = Score(module, {name: end for name, end in ended.items() if name.startswith(start)})
            check(one, log)
            found.append(one)
            if show:
                for name in one.missed:
                    print(f"--- {one.ended[name]}\n{mutmut(copy, 'show', name)}", flush=True)
        return found


def check(found: Score, log: str) -> None:
    """See that a score is one; nothing is said of a run that was broken off."""
    if not found.ended or "not checked" in found.ended.values():
        raise SystemExit(f"{found.module}: mutmut did not come to an end\n{log[-4000:]}")
    if 5 * sum(end == "timeout" for end in found.ended.values()) > len(found.ended):
        raise SystemExit(
            f"{found}\nSo many changes do not make tests hang: something else does, and this is no measure."
        )


def main() -> int:
    """Print a line for each module; 1 when one stays below the mark."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], default=list(MODULES))
    parser.add_argument("--show", action="store_true", help="show every change that was not noticed")
    parser.add_argument("--children", type=int, default=2, help="processes side by side")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    asked = parser.parse_args()
    together: dict[tuple[str, ...], list[str]] = {}
    for module in asked.modules:
        together.setdefault(tuple(MODULES[module][1]), []).append(module)
    found: list[Score] = []
    with (
        tempfile.TemporaryDirectory(prefix="pg") as folder,
        running_postgres(Path(folder) / "pg") as (_, url),
    ):
        os.environ["TEST_POSTGRES_URL"] = url  # one server for all, not one for each change
        for tests, modules in together.items():
            for one in scores(modules, list(tests), show=asked.show, children=asked.children):
                found.append(one)
                print(one, flush=True)
    if asked.json:
        figures = {one.module: [one.noticed, len(one.ended)] for one in found}
        asked.json.write_text(json.dumps(figures, indent=1))
    return int(any(one.share < REACHED for one in found))


if __name__ == "__main__":
    raise SystemExit(main())
