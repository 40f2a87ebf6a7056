"""Would the tests notice? mutmut changes one thing at a time in the modules that must not be wrong, and counts.

    python -m tests.mutation                  # all modules, about half an hour on two cores
    python -m tests.mutation guards answers   # some of them
    python -m tests.mutation --show guards    # and what every surviving change was

It works on a copy of the last commit in the temporary directory. Exit code 1 when a
module stays below the score it has to reach. A change that makes the tests hang counts as noticed; one that no
test runs counts as missed. mutmut changes functions, not tables: those are held by tests that spell them out.
"""

from __future__ import annotations

import argparse
import configparser
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REACHED = 0.90
"""The share of changes the tests have to notice, in each module."""

MODULES: dict[str, tuple[str, list[str]]] = {
    "guards": ("pipeline/guards.py", ["tests/unit/test_guards.py"]),
    "classifier": ("pipeline/delivery/classifier.py", ["tests/unit/test_classifier.py"]),
    "answers": ("pipeline/delivery/answers.py", ["tests/unit/test_answers.py"]),
    "retry_after": ("pipeline/delivery/retry_after.py", ["tests/unit/test_retry_after.py"]),
    "messages": ("pipeline/delivery/messages.py", ["tests/unit/test_messages.py"]),
    "sender": ("pipeline/delivery/sender.py", ["tests/delivery/test_stories.py"]),
    "store": ("connectors/ledger/store.py", ["tests/ledger"]),
    "lock": ("connectors/ledger/lock.py", ["tests/ledger"]),
    "journal": ("connectors/ledger/journal.py", ["tests/ledger"]),
    "frames": ("connectors/ledger/frames.py", ["tests/ledger"]),
}
"""By short name: the file that is changed, and the tests that have to notice."""

PYTEST = ["-p", "no:xdist", "-p", "no:randomly", "--hypothesis-seed=0", "--override-ini=timeout=60"]
PACKAGES = ["schemas", "pipeline", "connectors", "flows", "sandbox"]
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


def configure(copy: Path, path: str, tests: list[str]) -> None:
    """mutmut reads setup.cfg when pyproject.toml says nothing of it."""
    config = configparser.ConfigParser()
    config["mutmut"] = {
        "source_paths": "\n" + "\n".join(PACKAGES),
        "only_mutate": path,
        "also_copy": "\ndata\nbenchmarks\ndocs\ndeploy\nprefect.yaml\nMakefile\nREADME.md",
        "pytest_add_cli_args_test_selection": "\n" + "\n".join(tests),
        "pytest_add_cli_args": "\n" + "\n".join(PYTEST),
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
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"mutmut {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def score(module: str, *, show: bool, children: int) -> Score:
    """Change one module in every way mutmut knows."""
    path, tests = MODULES[module]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = committed(Path(folder))
        configure(copy, path, tests)
        log = mutmut(copy, "run", "--max-children", str(children))
        ended: dict[str, str] = {}
        for line in mutmut(copy, "results", "--all", "true").splitlines():
            name, separator, end = line.strip().rpartition(": ")
            if separator and "__mutmut_" in name:
                ended[name] = end
        if not ended or "not checked" in ended.values():
            raise SystemExit(f"{module}: mutmut did not come to an end\n{log[-4000:]}")
        found = Score(module, ended)
        if 5 * sum(end == "timeout" for end in ended.values()) > len(ended):
            raise SystemExit(
                f"{found}\nSo many changes do not make tests hang: something else does, and this is no measure."
            )
        if show:
            for name in found.missed:
                print(f"--- {found.ended[name]}\n{mutmut(copy, 'show', name)}")
        return found


def main() -> int:
    """Print a line for each module; 1 when one stays below the mark."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], default=list(MODULES))
    parser.add_argument("--show", action="store_true", help="show every change that was not noticed")
    parser.add_argument("--children", type=int, default=2, help="processes side by side")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    asked = parser.parse_args()
    scores = []
    for module in asked.modules:
        scores.append(score(module, show=asked.show, children=asked.children))
        print(scores[-1], flush=True)
    if asked.json:
        figures = {one.module: [one.noticed, len(one.ended)] for one in scores}
        asked.json.write_text(json.dumps(figures, indent=1))
    return int(any(one.share < REACHED for one in scores))


if __name__ == "__main__":
    raise SystemExit(main())
