"""Did it keep its promises? Judges what is left of a schedule; imports nothing of what it judges.

It reads the ledger file with sqlite3, the manifests in it with polars, the effect log, the request log and the
final store of the sandbox. Every check is a function of the evidence that yields what is wrong, in words.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import polars as pl

Record = dict[str, Any]


# ------------------------------------------------------------------ evidence
@dataclass
class Sent:
    """One request that left the client."""

    life: int
    time: float
    method: str
    path: str
    trace: str | None
    body: bytes
    ended: float | None = None
    intent: bool | None = None
    """Whether the ledger file showed the intent to send it, to somebody else, at the moment it left."""

    @property
    def changes(self) -> bool:
        return self.method != "GET" and not self.path.endswith("/connect/token")


@dataclass
class Life:
    """One process, from its start to its end or death."""

    number: int
    faulty: bool
    started: float
    first_sent: int
    ended: float = 0.0
    seconds: float = 0.0
    sent: int = 0
    killed: bool = False
    stuck: bool = False
    settled: bool = False
    exit_code: int | None = None
    error: str | None = None
    guard: str | None = None
    states: dict[str, int] = field(default_factory=dict)


@dataclass
class Evidence:
    """What is left of a schedule."""

    ledger: Path
    plan: list[Record]
    poison: set[str]
    before: Record
    after: Record
    effects: list[Record]
    requests: list[Record]
    sent: list[Sent]
    lives: list[Life]
    may_double: bool
    lies: bool
    settle_seconds: float


class Witness:
    """A second reader of the ledger file: what it sees has been committed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def intent(self, trace: str | None) -> bool:
        """Whether the attempt named by a request is written down as under way."""
        chunk, _, attempt = (trace or "").rpartition("-")
        if not chunk:
            return False
        if self._connection is None:
            self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)
        found = self._connection.execute(
            "SELECT 1 FROM chunk JOIN attempt USING (chunk_seq) WHERE chunk_id = ? AND attempt.attempt = ?"
            " AND chunk.attempt = attempt.attempt AND state = 'in_flight' AND ended_at IS NULL",
            (chunk, attempt),
        ).fetchone()
        return found is not None


def _rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def states_in(path: Path) -> dict[str, int]:
    """Records per state over leaf chunks; nothing for a ledger that is not there yet."""
    if not path.exists():
        return {}
    try:
        return dict(_rows(path, "SELECT state, sum(n) FROM chunk WHERE state <> 'split' GROUP BY state"))
    except sqlite3.OperationalError:  # killed before the tables were made
        return {}


@dataclass
class Books:
    """The ledger as the checker reads it: the state of every record, by phase, user and id."""

    state: dict[tuple[str, str, str], str]
    reason: dict[tuple[str, str, str], str]
    times: Counter[tuple[str, str, str]]


def read_books(path: Path) -> Books:
    books = Books({}, {}, Counter())
    for phase, state, reason, manifest in _rows(
        path, "SELECT phase, state, reason, manifest FROM chunk WHERE state <> 'split' ORDER BY chunk_seq"
    ):
        frame = pl.read_ipc_stream(BytesIO(manifest))
        for user, own in frame.select("user_id", "id").iter_rows():
            key = (phase, user, own)
            books.state[key] = state
            books.reason[key] = reason or ""
            books.times[key] += 1
    return books


def key_of(record: Record) -> tuple[str, str, str]:
    return (record["phase"], record["user_id"], record["id"])


# ------------------------------------------------------------------ content
def _plain(kind: str, content: Record) -> Record:
    """A record without what says nothing, so that two ways to say the same are equal."""
    if kind == "location":
        place = content.get("coordinates") or None
        return {
            "user": content.get("userId"),
            "id": content["locationId"],
            "type": content.get("locationType") or "Unknown",
            "place": place and (round(place["latitude"], 6), round(place["longitude"], 6)),
            "points": sorted(content.get("meterPointIds") or ()),
        }
    if kind == "resource":
        return {"id": content["resourceId"], "type": content["resourceType"]}
    return {"id": content["userId"]}


KINDS = {
    "create_users": "user",
    "release_locations": "location",
    "update_locations": "location",
    "create_locations": "location",
    "replace_resources": "resource",
    "create_resources": "resource",
    "create_vehicles": "resource",
}


def _held(state: Record) -> dict[tuple[str, str, str], Record]:
    """Everything in a store: (kind, user, id) to plain content."""
    found = {("user", one["userId"], one["userId"]): _plain("user", one) for one in state["users"]}
    found |= {
        ("location", one["userId"], one["locationId"]): _plain("location", one) for one in state["locations"]
    }
    found |= {
        ("resource", one["userId"], one["resourceId"]): _plain("resource", one) for one in state["resources"]
    }
    return found


def _target(record: Record) -> tuple[str, str, str]:
    return (KINDS[record["phase"]], record["user_id"], record["id"])


def _is_there(record: Record, held: dict[tuple[str, str, str], Record]) -> bool:
    """Whether a store shows a record of the plan as done."""
    there = held.get(_target(record))
    if record["body"] is None:
        return there is None or set(there["points"]) <= set(record["keys"])
    return there is not None and there == _plain(KINDS[record["phase"]], record["body"])


# ------------------------------------------------------------------ the checks
Check = Callable[[Evidence], Iterator[str]]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return register


def violations(evidence: Evidence) -> list[str]:
    """Everything that is wrong, each with the invariant it breaks."""
    return [f"{name}: {wrong}" for name, one in CHECKS.items() for wrong in one(evidence)]


@check("I3")
def record_conservation(of: Evidence) -> Iterator[str]:
    """Every planned record has exactly one state, and nothing else has one."""
    books = read_books(of.ledger)
    planned = {key_of(record) for record in of.plan}
    for key in planned - books.state.keys():
        yield f"{key} is planned and in no chunk"
    for key in books.state.keys() - planned:
        yield f"{key} is in a chunk and was never planned"
    for key, times in books.times.items():
        if times > 1:
            yield f"{key} has {times} states"
    for seq, n, manifest in _rows(
        of.ledger, "SELECT chunk_seq, n, manifest FROM chunk WHERE state <> 'split'"
    ):
        if pl.read_ipc_stream(BytesIO(manifest)).height != n:
            yield f"chunk {seq} says {n} records and holds others"


@check("I4")
def nothing_acknowledged_is_lost(of: Evidence) -> Iterator[str]:
    """What is acknowledged is held, with that content."""
    state, held = read_books(of.ledger).state, _held(of.after)
    for record in of.plan:
        if state.get(key_of(record)) == "acknowledged" and not _is_there(record, held):
            yield f"{key_of(record)} is acknowledged; held is {held.get(_target(record))}"


@check("I5")
def no_phantoms(of: Evidence) -> Iterator[str]:
    """What was made was planned, and its request named an attempt of the ledger."""
    attempts = {
        f"{chunk}-{attempt}"
        for chunk, attempt in _rows(
            of.ledger, "SELECT chunk_id, attempt.attempt FROM attempt JOIN chunk USING (chunk_seq)"
        )
    }
    planned = {_target(record) for record in of.plan}
    for effect in of.effects:
        if effect["request"] == 0:
            continue
        if effect["effect"] != "delete" and (effect["kind"], effect["user"], effect["id"]) not in planned:
            yield f"{effect['kind']} {effect['id']} was made and never planned"
        if effect["trace"] not in attempts:
            yield f"request {effect['request']} has no attempt in the ledger"


@check("I6")
def nothing_is_made_twice(of: Evidence) -> Iterator[str]:
    """No id is created while it is there; overwriting writes what was planned."""
    if of.may_double:
        return
    yield from _doubles(of)


def _doubles(of: Evidence) -> Iterator[str]:
    there: set[tuple[str, str, str]] = set()
    wanted = {_target(record): record for record in of.plan}
    for effect in of.effects:
        key = (effect["kind"], "" if effect["kind"] == "resource" else effect["user"], effect["id"])
        full = (effect["kind"], effect["user"], effect["id"])
        if effect["effect"] == "delete":
            there.discard(key)
        elif effect["effect"] == "create":
            if key in there:
                yield f"{key} was created twice, by request {effect['request']}"
            there.add(key)
        elif effect["effect"] == "overwrite" and wanted.get(full, {}).get("body") is not None:
            kind, body = effect["kind"], wanted[full]["body"]
            if _plain(kind, effect["content"]) != _plain(kind, body):
                yield f"{key} was overwritten with other content"


@check("I7")
def intent_comes_first(of: Evidence) -> Iterator[str]:
    """At the moment a request left, the ledger file already said so."""
    for sent in of.sent:
        if sent.changes and not sent.intent:
            yield f"{sent.method} {sent.path} left without a committed intent ({sent.trace})"


@check("I8")
def one_version_in_flight(of: Evidence) -> Iterator[str]:
    """No record is under way twice at once, and all its requests carry the same content."""
    busy: dict[tuple[int, str], float] = {}
    content: dict[str, str] = {}
    for sent in of.sent:
        if not sent.changes:
            continue
        for target, body in _records_in(sent):
            until = busy.get((sent.life, target), 0.0)
            if sent.time < until:
                yield f"{target} was sent again while it was under way"
            busy[sent.life, target] = sent.ended if sent.ended is not None else sent.time
            if body is not None and content.setdefault(f"{target} {_manner(sent)}", body) != body:
                yield f"{target} was sent with other content"


def _manner(sent: Sent) -> str:
    return "POST" if sent.method == "POST" else "change"


def _records_in(sent: Sent) -> Iterator[tuple[str, str | None]]:
    """The records a request is about, each with its content, in one form for batch and single calls."""
    parts = [unquote(part) for part in sent.path.split("/v1/", 1)[1].split("/")]
    body = json.loads(sent.body) if sent.body else None
    if parts[-1] == "batch":
        kind = "locations" if "locations" in body else "users"
        for one in body[kind]:
            own = one.get("locationId", one["userId"])
            yield f"{kind}/{one['userId']}/{own}", json.dumps(one, sort_keys=True)
    elif parts == ["users"]:
        yield f"users/{body['userId']}/{body['userId']}", json.dumps(body, sort_keys=True)
    elif len(parts) == 2 and parts[0] == "users":
        yield f"users/{parts[1]}/{parts[1]}", None
    elif parts[0] == "resources":
        yield f"resources/{parts[1]}", None
    elif parts[-1] in ("resources", "vehicles"):
        yield f"resources/{body['resourceId']}", json.dumps(body, sort_keys=True)
    else:
        own = parts[3] if len(parts) > 3 else body["locationId"]
        whole = (
            None
            if body is None or sent.method != "POST"
            else json.dumps(body | {"userId": parts[1]}, sort_keys=True)
        )
        yield f"locations/{parts[1]}/{own}", whole


@check("I9")
def remote_is_ledger_is_accepted(of: Evidence) -> Iterator[str]:
    """Held is what was there before, plus what is acknowledged, and nothing else; nothing good was refused."""
    books, held, before = read_books(of.ledger), _held(of.after), _held(of.before)
    planned = {_target(record): record for record in of.plan}
    for key, state in books.state.items():
        if state not in ("acknowledged", "rejected", "blocked"):
            yield f"{key} is still {state} ({books.reason[key]})"
    for target in held.keys() - before.keys():
        record = planned.get(target)
        if record is None or books.state.get(key_of(record)) != "acknowledged":
            yield f"{target} is held and the ledger says {record and books.state.get(key_of(record))}"
    for target in before.keys() - held.keys():
        record = planned.get(target)
        if record is None or (record["body"] is not None and books.state.get(key_of(record)) != "rejected"):
            yield f"{target} was there before and is gone, and nobody says so"
    yield from _holdings(of, held, before)
    if not of.lies:
        yield from _refused_for_nothing(of, books)


def _holdings(of: Evidence, held: dict[Any, Record], before: dict[Any, Record]) -> Iterator[str]:
    """What the ledger believes to be held is held."""
    for kind, page in _rows(of.ledger, "SELECT kind, page FROM holding"):
        kind = "resource" if kind == "vehicle" else kind
        for user, own in pl.read_ipc_stream(BytesIO(page)).select("user_id", "id").iter_rows():
            if (kind, user, own) not in held:
                yield f"the ledger believes {kind} {own} to be held"


def _refused_for_nothing(of: Evidence, books: Books) -> Iterator[str]:
    bad = set(of.poison)
    for record in of.plan:
        blocked = record["user_id"] in bad or record["location_id"] in bad
        state = books.state.get(key_of(record))
        if state == "rejected" and record["id"] not in bad:
            yield f"{key_of(record)} was rejected and nothing is wrong with it ({books.reason[key_of(record)]})"
        if state == "blocked" and not blocked:
            yield f"{key_of(record)} is blocked and its parents are well ({books.reason[key_of(record)]})"


@check("I10")
def convergence(of: Evidence) -> Iterator[str]:
    """With the faults off, three lives settle everything; the one after them changes nothing."""
    clean = [life for life in of.lives if not life.faulty]
    if len(clean) > 4 or not clean[-1].settled:
        yield f"after {len(clean)} lives without faults it is not settled: {clean[-1].states}"
    last = clean[-1]
    for sent in of.sent[last.first_sent : last.first_sent + last.sent]:
        if sent.changes:
            yield f"nothing was left to do, and {sent.method} {sent.path} was sent"


@check("I11")
def parents_come_first(of: Evidence) -> Iterator[str]:
    """No child is created before its parent."""
    users = {one["userId"] for one in of.before["users"]}
    places = {(one["userId"], one["locationId"]) for one in of.before["locations"]}
    for effect in of.effects:
        if effect["effect"] != "create" or effect["request"] == 0:
            continue
        if effect["kind"] == "user":
            users.add(effect["id"])
        elif effect["user"] not in users:
            yield f"{effect['kind']} {effect['id']} came before its user"
        if effect["kind"] == "location":
            places.add((effect["user"], effect["id"]))
        elif effect["kind"] == "resource":
            place = effect["content"].get("locationId")
            if place is not None and (effect["user"], place) not in places:
                yield f"resource {effect['id']} came before its location"


@check("I12")
def effort_is_bounded(of: Evidence) -> Iterator[str]:
    """Requests of a life stay within what splitting, retries and reading back can need."""
    n = len(of.plan)
    for life in of.lives:
        mine = of.sent[life.first_sent : life.first_sent + life.sent]
        changes = sum(sent.changes for sent in mine)
        if changes > 12 * n + 40:
            yield f"life {life.number} sent {changes} changes for {n} records"
        if len(mine) > 120 * n + 200:
            yield f"life {life.number} sent {len(mine)} requests for {n} records"
        at_once = Counter(sent.time for sent in mine).most_common(1)
        if at_once and at_once[0][1] > 100 + 2 * n:
            yield f"life {life.number} sent {at_once[0][1]} requests in one instant"


EXITS = {"rejected": 10, "blocked": 10, "in_doubt": 12, "planned": 15, "in_flight": 12}
ERRORS = {
    "AuthenticationError": 13,
    "ApiUnavailable": 15,
    "ContractError": 11,
    "GuardError": 11,
    "StorageError": 16,
}
WORST_FIRST = (1, 16, 14, 13, 11, 15, 12, 10, 0)


@check("I13")
def the_exit_tells_the_truth(of: Evidence) -> Iterator[str]:
    """The exit code is the truth table applied to the ledger file as the life left it."""
    for life in of.lives:
        if life.killed:
            continue
        codes = {0} | {EXITS[state] for state in life.states if state in EXITS}
        if sum(life.states.values()) < len(of.plan):
            codes.add(15)
        if life.error is not None:
            codes.add(ERRORS.get(life.error, 1))
        wanted = next(code for code in WORST_FIRST if code in codes)
        if life.exit_code != wanted:
            said = f"{life.exit_code}, the ledger says {wanted}"
            yield f"life {life.number} ended with {said} ({life.states}, {life.error})"


LEGAL = {
    "": {"planned", "in_flight", "blocked", "acknowledged", "rejected", "in_doubt"},
    "planned": {"in_flight", "blocked", "split", "superseded"},
    "in_flight": {"acknowledged", "rejected", "in_doubt", "planned", "blocked", "split"},
    "in_doubt": {"acknowledged", "planned", "rejected", "split"},
    "blocked": {"planned", "split", "superseded"},
}


@check("I16")
def history_is_legal(of: Evidence) -> Iterator[str]:
    """The file is sound; every move follows from the one before, and is allowed; nothing stays in flight."""
    if _rows(of.ledger, "PRAGMA quick_check") != [("ok",)]:
        yield "the ledger file is damaged"
    at: dict[int, str] = {}
    for chunk, was, to in _rows(
        of.ledger, "SELECT chunk_seq, from_state, to_state FROM history ORDER BY seq"
    ):
        if at.get(chunk, "") != was:
            yield f"chunk {chunk} moved from {was!r} and was {at.get(chunk, '')!r}"
        if to not in LEGAL.get(was, set()):
            yield f"chunk {chunk} moved from {was!r} to {to!r}"
        at[chunk] = to
    for chunk, state in _rows(of.ledger, "SELECT chunk_seq, state FROM chunk"):
        if at.get(chunk) != state:
            yield f"chunk {chunk} is {state} and its history says {at.get(chunk)}"
        if state == "in_flight":
            yield f"chunk {chunk} is still in flight"


@check("I17")
def only_what_may_go_is_deleted(of: Evidence) -> Iterator[str]:
    """Deleted are only locations to be released and resources to be replaced."""
    may_go = {_target(r) for r in of.plan if r["phase"] in ("release_locations", "replace_resources")}
    for effect in of.effects:
        if effect["effect"] == "delete" and (effect["kind"], effect["user"], effect["id"]) not in may_go:
            yield f"{effect['kind']} {effect['id']} was deleted"


@check("I20")
def it_comes_to_an_end(of: Evidence) -> Iterator[str]:
    """No life is stuck; without faults one takes an hour at most."""
    for life in of.lives:
        if life.stuck:
            yield f"life {life.number} never ended"
        elif not life.faulty and life.seconds > 3600:
            yield f"life {life.number} took {life.seconds:.0f} s without faults"


def doubles(of: Evidence) -> int:
    """How many records were made twice, also where nobody can exclude it."""
    return sum("twice" in wrong for wrong in _doubles(of))
