"""Canaries in every sensitive input of a real process, and a search for them in whatever it left (I14, PR1, PR7)."""

from __future__ import annotations

import csv
import gzip
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import sandbox.faults
from sandbox.exchange import Answer
from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.security.scan import spellings, spots
from tests.security.traced import MAIN, PROFILE, Place

COLUMNS = ["Kundenr", "Kundenavn", "Epost", "Anlegg", "Kundetype", "MålepunktID", "Målernummer", "Adresse"]
COLUMNS += ["Postnr", "Poststed", "Breddegrad", "Lengdegrad", "Adressesperre", "Status"]
OUT_OF_HERE = {"Breddegrad": "10,1234517", "Lengdegrad": "10,7654321"}

SECRETS = {
    "id key": "kanari id-nøkkel, lang nok til å tas",
    "client id": "kanari-klient-4711",
    "client secret": "kanari/hemmelig+ord=&?",
}
WORDS = {
    "name in an answer": "Fugl Fuglesen",
    "mail in an answer": "fugl.kanari@example.invalid",
    "session in an answer": "kanari-session-0f1e2d3c4b5a",
    "number in an answer": "707057500000471118",
}
"""What the server says, beside the id of a record."""


@dataclass(frozen=True)
class Planted:
    """An export with canaries, by name."""

    path: Path
    texts: dict[str, str]
    """Each by `row, column`."""


def plant(folder: Path) -> Planted:
    """Sixty rows: one good row full of canaries, one that is quarantined, one whose words nobody knows."""
    path = folder / "kunder-2026-01.csv"
    write_portfolio(path, rows=60, damage={})
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file, delimiter=";"))
    assert header == COLUMNS
    good, bad, odd = (dict(zip(COLUMNS, row, strict=True)) for row in (rows[0], rows[1], rows[2]))
    for name, row in (("good", good), ("bad", bad), ("odd", odd)):
        row.update(
            Kundenr=f"K kanari-{name}-ø1",
            Anlegg=f"A kanari-{name}-ø2",
            Kundenavn=f"Kanari {name} Ødegård",
            Epost=f"kanari.{name}@example.invalid",
            Målernummer=f"69999-kanari-{name}",
            Adresse=f"Kanariveien {name} 41",
            Postnr=f"kanari{name}0",
            Poststed=f"KANARI{name.upper()}VIK",
            Status="Aktiv",
        )
    good.update(Breddegrad="60,1928374", Lengdegrad="10,5647382")
    bad.update(OUT_OF_HERE)
    odd.update(Kundetype="Kanaritype", Adressesperre="Kanarisperre")
    written = [good, bad, odd, *(dict(zip(COLUMNS, row, strict=True)) for row in rows[3:])]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=";", lineterminator="\n")
        writer.writeheader()
        writer.writerows(written)
    texts = {
        f"{name}, {column}": value
        for name, row in (("good", good), ("bad", bad), ("odd", odd))
        for column, value in row.items()
        if column not in ("Status", "Kundetype", "Adressesperre") or "Kanari" in value
    }
    for column in ("Breddegrad", "Lengdegrad"):
        texts |= {
            f"{name}, {column} as a number": texts[f"{name}, {column}"].replace(",", ".")
            for name in ("good", "bad")
        }
    return Planted(path, texts)


QUARANTINE = ("data/*/quarantine.parquet", "data/*/correction.csv")
SPOOL = "data/*/spool/*"
MAPPED = ("Kundenr", "Anlegg", "MålepunktID", "Breddegrad*", "Lengdegrad*", "Kundetype", "Adressesperre")
MAY_HOLD: list[tuple[str, str]] = [
    *((file, f"{row}, *") for file in QUARANTINE for row in ("bad", "odd")),
]
"""Rows that somebody has to look at are kept as they came: that is what these files are for."""
MAY_HOLD_UNTIL_DONE = MAY_HOLD + [(SPOOL, f"{row}, {column}") for row in ("good", "odd") for column in MAPPED]
"""A run that can be resumed has its mapped columns in the spool."""


REMOVED_MAY_HOLD = [(f"removed/{SPOOL}", f"{row}, {column}") for row in ("good", "odd") for column in MAPPED]
"""The spool of a run that is done is gone."""

SET_ASIDE = "removed/data/*/spool/set_aside-*"
REMOVED_MAY_HOLD += [(SET_ASIDE, f"bad, {column}") for column in ("Kundenr", "Anlegg", "MålepunktID")]
"""What rows in quarantine say of locations is gone as soon as the plan is made."""


def leaks(folder: Path, texts: dict[str, str], allowed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Where a text is that may not be there: `removed/…` was there, and may hold what may be held there."""
    found = {(re.sub(r"^kept/[^/]+/", "removed/", file), name) for file, name in spots(folder, texts)}
    return sorted(
        (file, name)
        for file, name in found
        if not any(
            fnmatch(name, names) and (fnmatch(file, files) or fnmatch(file, f"removed/{files}"))
            for files, names in allowed + REMOVED_MAY_HOLD
        )
    )


@dataclass(frozen=True)
class Night:
    """One way a run can go."""

    exits: set[int]
    faults: list[dict[str, Any]] = field(default_factory=list)
    code: str = MAIN
    python: tuple[str, ...] = ()
    allowed: list[tuple[str, str]] = field(default_factory=lambda: MAY_HOLD)
    kill: bool = False


TALK = [
    {"kind": "bad-request", "on": ["batch", "single"], "body": body, "every": 4, "times": 3}
    for body in ("string", "problem", "html")
]


def broken(where: str, what: str, then: str = MAIN) -> str:
    """Our program with a bug that holds rows in its hands."""
    return f"import polars as pl, {where.rpartition('.')[0]}\ndef bug(*a, **k):\n    {what}\n{where} = bug\n{then}"


FRAME = "frame = next(one for one in (*a, *k.values()) if isinstance(one, pl.DataFrame))"
NIGHTS = {
    "all is well": Night({10}),
    "the server refuses in words": Night({10, 11}, TALK, allowed=MAY_HOLD_UNTIL_DONE),
    "the server fails in words": Night(
        {10, 12, 15},
        [{"kind": "bad-request", "status": 500, "body": "html", "on": "batch", "times": 2}],
        allowed=MAY_HOLD_UNTIL_DONE,
    ),
    "no token is given": Night(
        {13}, [{"kind": "token-refused", "error": " ".join(WORDS.values())}], allowed=MAY_HOLD_UNTIL_DONE
    ),
    "a bug quotes its rows": Night(
        {1},
        code=broken("pipeline.canonical.to_canonical", f"{FRAME}; raise ValueError(str(frame.rows()))"),
        python=("-X", "dev"),
    ),
    "a library quotes its rows": Night(
        {1, 11},
        code=broken("pipeline.canonical.to_canonical", f"{FRAME}; frame.select(pl.all().cast(pl.Int64))"),
    ),
    "it is killed": Night(
        {-signal.SIGKILL},
        [{"kind": "slow-answer", "on": "PostLocations", "seconds": 20}],
        kill=True,
        allowed=MAY_HOLD_UNTIL_DONE,
    ),
}


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says more than it should."""
    said = "{} ({}) was refused in {} for {}".format(*WORDS.values())
    bodies: dict[str, Callable[[int], Answer]] = {
        "string": lambda status: Answer.json(status, said),
        "problem": lambda status: Answer.problem(status, said, {said: [said]}),
        "html": lambda status: Answer.text(status, f"<html><title>{said}</title>{said}</html>", "text/html"),
    }
    for name, body in bodies.items():
        monkeypatch.setitem(sandbox.faults.ERROR_BODIES, name, body)


SHOWN_WORDS = [
    "data/*/outcomes.*",
    "data/*/report.*",
    "data/*/summary.json",
    "data/*/junit.xml",
    "data/ledger.sqlite*",
    "out.txt",
]
"""The operator reads what the server says, masked: of a name nobody can know that it is one."""


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS.keys())
def test_no_canary_is_found(night, tmp_path):
    planted = plant(tmp_path)
    place = Place(tmp_path / "place", {"METERFEED_ID_KEY": SECRETS["id key"], "METERFEED_SETTLE": "0.1"})
    arguments = ("sync", planted.path, "--profile", PROFILE, "--json")
    with Sandbox(
        faults={"fault": night.faults},
        client_id=SECRETS["client id"],
        client_secret=SECRETS["client secret"],
    ) as api:
        place.settings |= api.settings
        if night.kill:
            with place.start(*arguments) as process:
                wait_until(lambda: any(line["path"].endswith("locations/batch") for line in api.requests()))
                process.kill()
                code = process.wait()
        else:
            code = place.run(*arguments, code=night.code, python=night.python)
        tokens = {f"token {n}": token for n, token in enumerate(api.core.tokens._expiry)}
        asked = len(api.requests())
    assert code in night.exits, (place.folder / "err.txt").read_text()[-2000:]
    assert asked or code in (1, 11)
    allowed = night.allowed + [(file, "name in an answer") for file in SHOWN_WORDS]
    assert [] == leaks(place.folder, planted.texts | SECRETS | WORDS | tokens, allowed)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(4800):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


# ------------------------------------------------------------------ a program that leaks is caught
LEAKING = """
import base64, logging, os, pathlib, sys, tempfile, polars as pl, pipeline.canonical
from urllib.parse import quote
honest = pipeline.canonical.to_canonical
def leaking(*a, **k):
    frame = next(one for one in (*a, *k.values()) if isinstance(one, pl.DataFrame))
    told = frame["user"][0]
    logging.getLogger("pipeline.canonical").warning(told)
    try:
        raise ValueError(f"this row: {told}")
    except ValueError as error:
        print(error, file=sys.stderr)
    for name, content in (
        ("utf-16", told.encode("utf-16")),
        ("base64", base64.b64encode(b"it was " + told.encode())),
        ("url", b"https://example.invalid/" + quote(told).encode()),
        ("hex", told.encode().hex().encode()),
    ):
        for folder in (os.environ["METERFEED_DATA_DIR"], tempfile.gettempdir()):
            pathlib.Path(folder, f"left-{name}").write_bytes(content)
    for name in ("gone", "emptied", "replaced"):
        pathlib.Path(tempfile.gettempdir(), name).write_text(told)
    pathlib.Path(tempfile.gettempdir(), "gone").unlink()
    pathlib.Path(tempfile.gettempdir(), "emptied").write_text("")
    pathlib.Path(tempfile.gettempdir(), "fresh").write_text("")
    pathlib.Path(tempfile.gettempdir(), "fresh").replace(pathlib.Path(tempfile.gettempdir(), "replaced"))
    return honest(*a, **k)
pipeline.canonical.to_canonical = leaking
"""
"""Our program with bugs that tell who the first customer is: in its log, in words, and in files, plain and encoded."""


def test_a_program_that_leaks_is_caught_at_each_place(tmp_path):
    planted = plant(tmp_path)
    place = Place(tmp_path / "place", {"METERFEED_ID_KEY": SECRETS["id key"], "METERFEED_SETTLE": "0.1"})
    with Sandbox() as api:
        place.settings |= api.settings
        code = place.run("sync", planted.path, "--profile", PROFILE, code=LEAKING + MAIN)
    assert 10 == code, (place.folder / "err.txt").read_text()[-2000:]
    left = [f"{where}/left-{way}" for where in ("data", "tmp") for way in ("base64", "hex", "url", "utf-16")]
    left += [
        "data/meterfeed.jsonl",
        "err.txt",
        *(f"removed/tmp/{name}" for name in ("emptied", "gone", "replaced")),
    ]
    assert [(file, "good, Kundenr") for file in sorted(left)] == leaks(
        place.folder, planted.texts | SECRETS, MAY_HOLD
    )


# ------------------------------------------------------------------ the search can find
CANARY = "Kanari Ødegård <41>?"


def containers(found: bytes) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to hide a text in a file."""
    frame = pl.DataFrame({"a": [CANARY] * 100})

    def sqlite(path: Path, *, blob: bytes) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE t (v BLOB)")
            database.execute("INSERT INTO t VALUES (?)", (blob,))
            database.commit()

    def wal(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(path)) as other:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE t (v TEXT)")
            other.execute("SELECT * FROM t").fetchall()
            database.execute("INSERT INTO t VALUES (?)", ("x" * 5000 + CANARY,))
            database.commit()
            for suffix in ("", "-wal"):  # as a kill leaves it
                path.with_name(f"left.sqlite{suffix}").write_bytes(
                    path.with_name(path.name + suffix).read_bytes()
                )
        path.unlink()

    stream = BytesIO()
    frame.write_ipc_stream(stream, compression="zstd")
    yield "bytes", lambda path: path.write_bytes(b"x" * 7 + found + b"y")
    yield "gzip", lambda path: path.write_bytes(gzip.compress(found))
    yield "parquet", lambda path: frame.write_parquet(path, compression="zstd")
    yield "name", lambda path: path.with_name(f"log-{CANARY}").touch()
    yield "database", lambda path: sqlite(path, blob=found)
    yield "page", lambda path: sqlite(path, blob=stream.getvalue())
    yield (
        "packed page",
        lambda path: sqlite(path, blob=pa.compress(stream.getvalue(), codec="zstd", asbytes=True)),
    )
    yield "write-ahead log", wal


@pytest.mark.parametrize("spelling", spellings(CANARY))
def test_a_canary_is_found_in_every_spelling(spelling, tmp_path):
    (tmp_path / "left").write_bytes(b"before " + spellings(CANARY)[spelling] + b" after")
    assert {("left", "it")} == spots(tmp_path, {"it": CANARY, "another": "Kanari Ødegård 42"})


@pytest.mark.parametrize("container", [name for name, _ in containers(b"")])
def test_a_canary_is_found_in_every_container(container, tmp_path):
    dict(containers(CANARY.encode()))[container](tmp_path / "left")
    assert {"it"} == {name for _, name in spots(tmp_path, {"it": CANARY, "another": "Kanari Ødegård 42"})}


def test_what_may_be_held_may_be_held_there_only(tmp_path):
    for name in ("quarantine.parquet", "outcomes.parquet"):
        (tmp_path / "data/run").mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"a": ["Kanari bad"]}).write_parquet(tmp_path / "data/run" / name)
    assert [("data/run/outcomes.parquet", "bad, Kundenavn")] == leaks(
        tmp_path, {"bad, Kundenavn": "Kanari bad"}, MAY_HOLD
    )
