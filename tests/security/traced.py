"""A real process of ours, alone in its environment, and what strace saw it do."""

from __future__ import annotations

import codecs
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from flows.cli import main; main()"
PROFILE = ROOT / "data/profiles/nordkraft.toml"

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="NOT CHECKED: strace is missing, so nobody watched the process"
)

_WRITES = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)\b")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_AT = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>")
_CHANGES = {
    "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "symlink", "symlinkat",
    "link", "linkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "truncate", "mknod", "mknodat",
    "utime", "utimes", "utimensat", "setxattr", "lsetxattr", "removexattr", "creat",
}  # fmt: skip


KEEPER = """
import itertools, os, shutil, sys
PLACE, NUMBERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), itertools.count()
MINE = (PLACE + "/data/", PLACE + "/tmp/")
def keep(event, told):
    if event == "os.remove":
        path, folder = told
    elif event == "os.rename":
        path, folder = told[1], told[3]
    elif event == "open" and isinstance(told[0], (str, bytes, os.PathLike)) and told[2] & os.O_TRUNC:
        path, folder = told[0], -1
    else:
        return
    base = os.getcwd() if folder < 0 else os.readlink(f"/proc/self/fd/{folder}")
    path = os.path.normpath(os.path.join(base, os.fsdecode(path)))
    if path.startswith(MINE) and os.path.isfile(path):
        copy = f"{PLACE}/kept/{os.getpid()}-{next(NUMBERS)}/{os.path.relpath(path, PLACE)}"
        os.makedirs(os.path.dirname(copy))
        shutil.copyfile(path, copy)
sys.addaudithook(keep)
"""
"""Keeps a copy of every file that a Python process removes, replaces or empties. What C does itself is not seen: SQLite
and its write-ahead log."""


@dataclass
class Place:
    """A home for one process: its own data directory, temporary directory and settings."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True)
        (self.folder / "home").mkdir()
        self.kept.mkdir()
        (self.folder / "watch").mkdir()
        (self.folder / "watch/sitecustomize.py").write_text(KEEPER)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def kept(self) -> Path:
        """What was removed, replaced or emptied, each file in a folder of its own, below its place."""
        return self.folder / "kept"

    @property
    def trace(self) -> Path:
        return self.folder / "trace.txt"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.folder / "watch"),
            "METERFEED_DATA_DIR": str(self.data),
            "METERFEED_SETTLE": "0.2",
            **self.settings,
        }

    def start(
        self, *arguments: object, code: str = MAIN, watch: str = "", python: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `code` with a command line; `watch` names system calls for strace, as its `-e trace=`."""
        strace = [
            "strace",
            "-f",
            "-qq",
            "-y",
            "-v",
            "-s",
            "100000",
            "-e",
            "signal=none",
            "-o",
            str(self.trace),
        ]
        with (self.folder / "out.txt").open("wb") as out, (self.folder / "err.txt").open("wb") as err:
            return subprocess.Popen(
                [
                    *((*strace, "-e", f"trace={watch}") if watch else ()),
                    *(sys.executable, *python, "-c", code),
                    *map(str, arguments),
                ],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=err,
            )

    def run(self, *arguments: object, code: str = MAIN, watch: str = "", python: tuple[str, ...] = ()) -> int:
        """Run it to its end and give back its exit code."""
        with self.start(*arguments, code=code, watch=watch, python=python) as process:
            return process.wait(timeout=280)

    # ------------------------------------------------------------ what strace saw
    def changed(self) -> set[str]:
        """Paths that were opened for writing, made, renamed, removed or given other rights."""
        return {
            path
            for call, rest in self._calls()
            if call in _CHANGES or (call in ("open", "openat", "openat2") and _WRITES.search(rest))
            for path in self._paths(rest)
        }

    def removed(self) -> set[str]:
        """Files that were removed."""
        return {
            path
            for call, rest in self._calls()
            if call in ("unlink", "unlinkat") and "AT_REMOVEDIR" not in rest and rest.endswith("= 0")
            for path in self._paths(rest)
        }

    @staticmethod
    def _paths(rest: str) -> list[str]:
        base = _AT.search(rest)
        return [
            os.path.normpath(os.path.join(base.group(1) if base else str(ROOT), path))
            for path in _QUOTED.findall(rest)
        ]

    def reached(self) -> set[str]:
        """`address:port`, or path, of everything a connection was opened or a datagram was sent to."""
        found = set()
        for call, rest in self._calls():
            if call not in ("connect", "sendto", "sendmsg", "bind"):
                continue
            port = re.search(r"sin6?_port=htons\((\d+)\)", rest)
            address = re.search(r'inet_addr\("([^"]*)"\)|inet_pton\(AF_INET6, "([^"]*)"', rest)
            local = re.search(r'sa_family=AF_UNIX, sun_path=@?"([^"]*)"', rest)
            if port and address:
                found.add(f"{address.group(1) or address.group(2)}:{port.group(1)}")
            elif local:
                found.add(local.group(1))
        return found

    def started(self) -> list[bytes]:
        """Command line and environment of every process that was started after the first, as it was given them."""
        found = [rest for call, rest in self._calls() if call in ("execve", "execveat")][1:]
        return [codecs.escape_decode(rest.encode())[0] for rest in found]  # type: ignore[attr-defined]

    def _calls(self) -> list[tuple[str, str]]:
        calls, unfinished = [], {}
        for line in self.trace.read_text(encoding="utf-8", errors="replace").splitlines():
            process, _, rest = line.partition(" ")
            rest = rest.lstrip()
            if rest.endswith("<unfinished ...>"):
                unfinished[process] = rest.removesuffix("<unfinished ...>")
                continue
            if rest.startswith("<... "):
                rest = unfinished.pop(process, "") + rest.partition("resumed>")[2]
            call, bracket, rest = rest.partition("(")
            if bracket and not re.search(r"= -1 E(?:NOENT|EXIST|NOTDIR)\b", rest):
                calls.append((call, rest))
        return calls
