"""A tenant over many nights: exports that change, runs of the real command that die, a ledger that is put back.

Nothing here knows how the loader does it. The truth is the export, read as text, and what the sandbox says it did.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sandbox.exchange import Answer, Call
from sandbox.server import Sandbox
from tests.campaign.processes import SPAWN

SPAWN.set_forkserver_preload(["tests.campaign.reference", "tests.campaign.nights"])

PROFILE = """
name = "nights"
country = "NO"
[export]
kind = "full"
[file]
format = "csv"
encoding = "utf-8"
separator = ";"
decimal = "."
[identity]
ids = "as-is"
[columns]
user = "kunde"
location = "anlegg"
location_type = "type"
meter_point = "punkt"
latitude = "nord"
longitude = "ost"
[meter_point]
scheme = "NO"
[coordinates]
crs = "EPSG:4326"
[values.location_type]
"H" = "Residential"
"N" = "Commercial"
[guards]
shrank = 1.0
grew = 1000.0
creates = 1000.0
updates = 1.0
rejected = 1.0
rejected_alike = 1000000
"""
HEAD = "kunde;anlegg;type;punkt;nord;ost"
TYPES = {"H": "Residential", "N": "Commercial"}
UNDONE = {11, 12, 15, 16}
ID_KEY = "an id key for nights, long enough to be taken"


@dataclass
class Place:
    """A location as the export has it."""

    kind: str
    north: float
    east: float
    points: list[str]


@dataclass(frozen=True)
class Told:
    """What a command printed, and how it ended."""

    code: int
    document: dict[str, Any]


def command(arguments: list[str], environ: dict[str, str], out: str) -> None:
    """The real command in a fork."""
    for name in [name for name in os.environ if name.startswith("METERFEED_")]:
        del os.environ[name]
    os.environ.update(environ)
    number = os.open(out, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.dup2(number, 1)
    os.dup2(os.open(out + ".err", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), 2)
    from flows.cli import main

    sys.argv = ["meterfeed", *arguments]
    main(arguments)


@dataclass
class Tenant:
    """One retailer, its customers and its ledger."""

    folder: Path
    api: Sandbox
    customers: dict[str, dict[str, Place]] = field(default_factory=dict)
    exports: int = 0
    numbers: int = 0
    kept: Path | None = None
    kill_at: int | None = None
    seen: int = 0
    child: Any = None

    # ---------------------------------------------------------- customers
    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def add(self, places: int) -> None:
        """A new customer with so many locations of one meter point each."""
        self.customers[f"kunde-{self.number():03d}"] = {
            f"anlegg-{n:03d}": Place("H", 60.0 + n / 1000, 10.5, [f"70705759{n:010d}"])
            for n in (self.number() for _ in range(places))
        }

    def places(self) -> list[tuple[str, str, Place]]:
        return [(user, name, place) for user, mine in self.customers.items() for name, place in mine.items()]

    def lines(self) -> list[str]:
        return [
            f"{user};{name};{place.kind};{point};{place.north:.6f};{place.east:.6f}"
            for user, name, place in self.places()
            for point in place.points
        ]

    def export(self) -> Path:
        """Tonight's export: never the same bytes twice, so that it is never skipped as done."""
        self.exports += 1
        path = self.folder / f"kunder-{self.exports:03d}.csv"
        lines = self.lines()
        turn = self.exports % max(1, len(lines))
        path.write_text("\n".join([HEAD, *lines[turn:], *lines[:turn]]) + "\n" * (1 + self.exports % 2))
        return path

    @property
    def profile(self) -> str:
        return str(self.folder / "nights.toml")

    # ---------------------------------------------------------- commands
    def run(self, *arguments: str, kill_at: int | None = None) -> Told:
        """The real command; with `kill_at`, killed when so many requests have come in."""
        out = self.folder / "out.json"
        environ = {
            **self.api.settings,
            "METERFEED_ID_KEY": ID_KEY,
            "METERFEED_DATA_DIR": str(self.folder / "data"),
            "METERFEED_SETTLE": "0.25",
            "METERFEED_CHUNK_SIZE": "3",
        }
        self.kill_at, self.seen = kill_at, 0
        self.child = SPAWN.Process(target=command, args=([*arguments, "--json"], environ, str(out)))
        self.child.start()
        self.child.join(280)
        code = self.child.exitcode
        if code is None:
            self.child.kill()
            raise AssertionError(f"I20: {arguments} did not end")
        self.kill_at = None
        document = json.loads(out.read_text()) if code >= 0 else {}
        if code == 1:
            raise AssertionError((self.folder / "out.json.err").read_text()[-2000:])
        return Told(code, document)

    def sync(self, *, kill_at: int | None = None) -> Told:
        export = self.export()
        told = self.run("sync", str(export), "--profile", self.profile, kill_at=kill_at)
        if told.code in (0, 10) and not kill_at:
            self.check_rows(told.document, export)
        return told

    def adopt(self) -> int:
        """Rebuild the ledger from what the API holds; the exit code."""
        return self.run("adopt", "--profile", self.profile).code

    def check_rows(self, document: dict[str, Any], export: Path) -> None:
        """I1: every line of the file has exactly one class, by our own count of lines."""
        rows = dict(document["rows"])
        lines = sum(bool(line.strip()) for line in export.read_bytes().splitlines()) - 1
        assert lines == rows.pop("read"), "I1: rows were not read, or invented"
        assert lines == sum(rows.values()), f"I1: rows have no class, or two: {rows} of {lines}"
        for kind, counts in document["records"].items():
            counts = dict(counts)
            assert counts.pop("planned") == sum(counts.values()), f"I3: {kind} do not add up: {counts}"

        self.check_provenance(document, export)

    def check_provenance(self, document: dict[str, Any], export: Path) -> None:
        """I2: every record names a row of the file that speaks of it, and there are as many as were planned."""
        lines = export.read_text().split("\n")
        outcomes = pq.read_table(document["artifacts"]["outcomes"]).to_pylist()
        planned = Counter({kind: counts["planned"] for kind, counts in document["records"].items()})
        records = [one["kind"] for one in outcomes if one["operation"] != "delete"]
        assert +planned == Counter(records), "I2: records without an outcome"
        for one in outcomes:
            if one["operation"] in ("release", "delete"):
                continue  # what is no longer in the export has no row in it
            user, place, *_ = lines[one["source_line"] - 1].split(";")
            named = user if one["kind"] == "user" else place
            assert named.endswith(one["masked_id"].lstrip("…")), f"I2: {one} names a row of {named}"

    # ---------------------------------------------------------- the ledger
    def keep(self) -> None:
        """A backup of the ledger, as somebody might take it at night."""
        data = self.folder / "data"
        if (data / "ledger.sqlite").exists():
            self.kept = self.folder / "kept"
            shutil.rmtree(self.kept, ignore_errors=True)
            self.kept.mkdir()
            for file in data.glob("ledger.sqlite*"):
                if not file.name.endswith((".lock", "-shm")):
                    shutil.copyfile(file, self.kept / file.name)

    def put_back(self) -> None:
        assert self.kept is not None
        for file in (self.folder / "data").glob("ledger.sqlite*"):
            if not file.name.endswith(".lock"):
                file.unlink()
        for file in self.kept.iterdir():
            shutil.copyfile(file, self.folder / "data" / file.name)

    # ---------------------------------------------------------- truth
    @property
    def changes(self) -> int:
        """Requests that came to change something."""
        return sum(
            one["method"] != "GET" and not one["path"].endswith("/token") for one in self.api.requests()
        )

    def check_effects(self) -> None:
        """I6, I17: nothing is created while it is there, nobody is deleted."""
        there: Counter[tuple[str, str, str]] = Counter()
        for one in self.api.effects():
            key = (one["kind"], one["user"], one["id"])
            if one["effect"] == "create":
                assert not there[key], f"I6: {key} was created twice"
                there[key] += 1
            elif one["effect"] == "delete":
                assert one["kind"] != "user", f"I17: {key} was deleted"
                there[key] = 0

    def wrong(self) -> list[str]:
        """How what is held differs from the export: what it has must be there, and no point twice."""
        state = self.api.state()
        users = {one["userId"] for one in state["users"]}
        held = {(one["userId"], one["locationId"]): one for one in state["locations"]}
        found = [f"{user} is missing" for user in self.customers.keys() - users]
        for user, name, place in self.places():
            one = held.get((user, name))
            if one is None:
                found.append(f"{user} {name} is missing")
                continue
            where = one.get("coordinates") or {}
            at = (round(where.get("latitude", 0), 6), round(where.get("longitude", 0), 6))
            if (TYPES[place.kind], (round(place.north, 6), round(place.east, 6)), sorted(place.points)) != (
                one.get("locationType"),
                at,
                sorted(one.get("meterPointIds") or ()),
            ):
                found.append(f"{user} {name} is held as {one}")
        points = Counter(point for one in held.values() for point in one.get("meterPointIds") or ())
        return found + [f"{point} is held {times} times" for point, times in points.items() if times > 1]

    def finish(self) -> None:
        """I9, I10: with nothing going wrong, a few nights make it right, and the next changes nothing."""
        self.api.set_faults({"semantics": {"lag_seconds": 0.02}})
        self.api.settle()
        codes = []
        for _ in range(4):
            codes.append(self.sync().code)
            if codes[-1] in (0, 10) and not self.wrong():
                break
        assert not self.wrong(), f"I9 after {codes}: {self.wrong()[:5]}"
        before = self.changes
        told = self.sync()
        assert (0, before) == (told.code, self.changes), f"I10: {told.code}, {self.changes - before} changes"
        self.check_effects()


@contextmanager
def tenant(folder: Path) -> Iterator[Tenant]:
    """A tenant with an empty ledger."""
    with Sandbox() as api:
        found = Tenant(folder, api)
        Path(found.profile).write_text(PROFILE)
        handle = api.core.handle

        def watched(call: Call) -> Answer:
            if not call.target.startswith("/_sandbox"):
                found.seen += 1
                if found.kill_at is not None and found.seen == found.kill_at:
                    os.kill(found.child.pid, signal.SIGKILL)
            return handle(call)

        api.core.handle = watched  # type: ignore[method-assign]
        yield found
