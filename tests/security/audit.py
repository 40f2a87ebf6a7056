"""Known vulnerabilities of what the tests ran with: pip-audit over constraints.txt, and never a false pass.

    make audit

Exit code 0: every package was looked up and none is known to be vulnerable. 1: some are. 3: NOT CHECKED, wholly
or in part. pip-audit itself says "no known vulnerabilities" and 0 of packages its service does not answer for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLEAN, VULNERABLE, NOT_CHECKED = 0, 1, 3


def pinned(constraints: str) -> dict[str, str]:
    """Name and version of each line of a constraints file."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines) if version}


def verdict(report: dict[str, Any] | None, pins: dict[str, str]) -> tuple[int, list[str]]:
    """Exit code and words for what pip-audit reported; None when it reported nothing."""
    if report is None:
        return NOT_CHECKED, ["NOT CHECKED: the advisory service cannot be reached."]
    told = {one["name"].lower(): one for one in report.get("dependencies", [])}
    vulnerable = [
        f"{name} {one['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version yet'}"
        for name, one in sorted(told.items())
        for known in one.get("vulns", [])
    ]
    silent = [name for name in pins if "vulns" not in told.get(name, {})]
    if silent:
        several = f"{len(silent)} of {len(pins)} packages, {silent[0]} first"
        vulnerable.append(f"NOT CHECKED: the advisory service knows nothing of {several}.")
    if any(not line.startswith("NOT CHECKED") for line in vulnerable):
        return VULNERABLE, vulnerable
    if silent:
        return NOT_CHECKED, vulnerable
    return CLEAN, [f"{len(pins)} packages were looked up; none is known to be vulnerable."]


def main() -> int:
    """Ask, and say what came of it."""
    constraints = ROOT / "constraints.txt"
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(constraints),
        "--no-deps",
        "--disable-pip",
    ]
    asked = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off", "--timeout", "15"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(asked.stdout)
    except ValueError:
        report = None
        print(asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else "", file=sys.stderr)
    code, lines = verdict(report, pinned(constraints.read_text(encoding="utf-8")))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
