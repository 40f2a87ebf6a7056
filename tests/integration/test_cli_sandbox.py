"""`meterfeed sandbox`: the world it stands for, and how it misbehaves, are chosen on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.integration.conftest import ROOT


@contextmanager
def sandbox(folder: Path, *arguments: str) -> Iterator[str]:
    """The command in a process of its own; where it listens."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from flows.cli import main; main()",
            "sandbox",
            "--port",
            "0",
            "--json",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "METERFEED_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["settings"]["METERFEED_TOKEN_URL"].partition("/connect")[
            0
        ]
        process.send_signal(signal.SIGINT)
    assert 0 == process.returncode


def told(origin: str) -> dict[str, Any]:
    with urlopen(f"{origin}/_sandbox/faults", timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_the_cell_and_the_faults_of_the_wire_are_the_ones_asked_for(tmp_path: Path) -> None:
    with sandbox(
        tmp_path, "--semantics", "a=prefix,b=skip", "--wire", "--faults", "wire-close-without-answer"
    ) as origin:
        found = told(origin)
        assert ("a=prefix", "b=skip") == tuple(found["semantics"].split(",")[:2])
        assert ["wire-close-without-answer"] == [one["kind"] for one in found["playing"]]
        with pytest.raises((URLError, ConnectionError)):
            urlopen(f"{origin}/energy-coordination/v1/users", timeout=120)


@pytest.mark.parametrize("wire", [True, False])
def test_a_plan_with_faults_of_the_wire_can_be_set_later_with_wire_only(tmp_path: Path, wire: bool) -> None:
    with sandbox(tmp_path, *(["--wire"] if wire else [])) as origin:
        request = Request(f"{origin}/_sandbox/faults", b'"wire-storm"', method="POST")
        if wire:
            assert 204 == urlopen(request, timeout=120).status
        else:
            with pytest.raises(URLError, match="400"):
                urlopen(request, timeout=120)


def test_a_cell_that_does_not_exist_is_said(meterfeed: Any) -> None:
    document = meterfeed("sandbox", "--port", "0", "--semantics", "a=sometimes", "--json").document
    assert 2 == document["exit_code"]
    assert "prefix" in document["error"]["message"]
