"""Standard streams that are closed, full or without a reader: nothing is raised, and the exit code is the work's."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from flows import streams

ROOT = Path(__file__).parents[2]
WORK = """
import os, sys
from flows import streams
streams.bear()
for stream in (sys.stdout, sys.stderr):
    for size in (10, 100_000, 10):  # into the buffer, past it, and what is left for the flush at the very end
        print("é" * size, file=stream)
opened = os.open(os.devnull, os.O_RDONLY)
told = [sys.stdin.readline(), opened > 2, *(str(streams.refusal_of(one)) for one in (sys.stdout, sys.stderr))]
os.write(int(sys.argv[1]), repr(told).encode())
sys.exit(12)
"""
FULL = "[Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("redirected", "refusals"),
    [
        (">/dev/full 2>/dev/full", [FULL, FULL]),
        (">/dev/full 2>/dev/null", [FULL, "None"]),
        (">&- 2>&- <&-", ["None", "None"]),
        ("2>&-", ["None", "None"]),
        ("| true", ["None", "None"]),
    ],
)
def test_a_stream_that_refuses_changes_nothing(tmp_path, redirected, refusals):
    told = tmp_path / "told"
    script = f'{{ "$@" 9>"{told}" </dev/null; echo $? >"{told}.code"; }} {redirected}'
    if "<&-" in redirected:
        script = script.replace("</dev/null", "")
    command = [sys.executable, "-c", WORK, "9"]
    subprocess.run(["sh", "-c", script, "sh", *command], cwd=ROOT, capture_output=True, check=False)
    assert "12\n" == (tmp_path / "told.code").read_text()
    assert repr(["", True, *refusals]) == told.read_text()


def test_what_is_written_arrives_whole_and_in_order():
    script = "import sys; from flows import streams; print(1); streams.bear(); print(2); print('æ\\udcff', flush=True)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert b"1\n2\n\xc3\xa6\\udcff\n" == ended.stdout


def test_a_stream_that_somebody_put_in_place_stays(monkeypatch):
    mine = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", mine)
    streams.bear()
    assert (mine, "backslashreplace") == (sys.stdout, mine.errors)
    assert streams.refusal_of(sys.stdout) is None
