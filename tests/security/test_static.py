"""ruff's security rules hold for everything shipped, and each exception says why it is none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]
_NOQA = re.compile(r"#\s*noqa:\s*((?:[A-Z]+[0-9]+[,\s]*)+)(.*)")


def findings(source: str, folder: Path) -> set[str]:
    """The codes ruff gives a module that lies in a shipped package, by our own configuration."""
    module = folder / "pipeline" / "planted.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text(source)
    command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    told = subprocess.run(
        [*command, "--output-format=json", str(module)], capture_output=True, text=True, check=False
    )
    return {one["code"] for one in json.loads(told.stdout)}


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("S102", "exec(input())"),
        ("S105", 'password = "fjord"'),
        ("S113", "import requests\nrequests.get('https://x')"),
        ("S301", "import pickle\npickle.loads(b'')"),
        ("S307", "eval(input())"),
        ("S311", "import random\nrandom.random()"),
        ("S501", "import httpx\nhttpx.get('https://x', verify=False)"),
        ("S506", "import yaml\nyaml.load('')"),
        ("S602", "import subprocess\nsubprocess.run(input(), shell=True)"),
        ("S608", "q = 'SELECT * FROM t WHERE a = ' + input()"),
    ],
)
def test_what_is_dangerous_is_found_in_a_shipped_package(code, source, tmp_path):
    assert code in findings(f'"""Planted."""\n\n{source}\n', tmp_path)


def exceptions(root: Path) -> Iterator[tuple[str, str, str]]:
    """(place, code, reason) of each security rule that is switched off on a line."""
    for package in SHIPPED:
        for path in sorted((root / package).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found = _NOQA.search(line)
                for code in re.findall(r"\bS[0-9]{3}\b", found.group(1)) if found else ():
                    yield f"{path.relative_to(root)}:{number}", code, found.group(2).strip(" -(:)")


def test_every_exception_says_why():
    assert [] == [(place, code) for place, code, reason in exceptions(ROOT) if len(reason) < 5]
    assert 5 < sum(1 for _ in exceptions(ROOT)) < 30


def test_an_exception_without_a_reason_is_found(tmp_path):
    for package in SHIPPED:
        (tmp_path / package).mkdir()
    (tmp_path / SHIPPED[0] / "a.py").write_text(
        "x = eval('1')  # noqa: S307\ny = eval('1')  # noqa: S307 - a number of ours\n"
    )
    assert [("S307", ""), ("S307", "a number of ours")] == [
        (code, why) for _, code, why in exceptions(tmp_path)
    ]


def test_no_security_rule_is_off_for_a_shipped_package():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert ["S101"] == [code for code in lint["ignore"] if re.fullmatch(r"S[0-9]*", code)], "assertions only"
    off = [
        where
        for where, codes in lint["per-file-ignores"].items()
        if any(re.fullmatch(r"S[0-9]*", c) for c in codes)
    ]
    assert {"tests/**", "benchmarks/**"} >= set(off)
