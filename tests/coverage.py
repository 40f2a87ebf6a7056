"""Branch coverage of the modules that must not be wrong: every line and every branch, or exit code 1.

    make coverage

Lines that only run in a process of their own are not seen from here; there are none in these modules.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ["connectors.ledger", "pipeline.delivery.classifier", "pipeline.delivery.sender", "pipeline.guards"]
TESTS = [
    "tests/unit/test_guards.py",
    "tests/unit/test_classifier.py",
    "tests/ledger",
    "tests/delivery/test_stories.py",
    "tests/delivery/test_removing.py",
]
"""Tests that reach these modules inside the process of the tests."""
WHOLE = 100


def main() -> int:
    """Run the tests once and say which lines and branches nobody ran."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "--cov-branch", *TESTS]
    command += [f"--cov={module}" for module in MODULES]
    command += ["--cov-report=term-missing:skip-covered", f"--cov-fail-under={WHOLE}"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
