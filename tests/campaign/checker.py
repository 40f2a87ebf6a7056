"""Did it keep its promises? Judges what is left of a schedule; imports nothing of what it judges.

It reads the ledger file with sqlite3, the manifests in it with pyarrow, the effect log, the request log and the
final store of the sandbox. Every check is a function of the evidence that yields what is wrong, in words.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

import pyarrow as pa

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
    cures: bool = False
    """Whether it only finishes what a guard stopped, as the cure says; that loads no export."""
    left_open: int = 0
    """Descriptors, threads and tasks more than before it, when it ended by itself."""
    peak_megabytes: float = 0.0
    """Most memory a process of its own had; 0 when it had none."""
    states: dict[str, int] = field(default_factory=dict)


@dataclass
class Evidence:
    """What is left of a schedule."""

    ledger: str
    """URL of the ledger: `sqlite:///FILE` or `postgresql+psycopg://…`."""
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
    canaries: frozenset[str] = frozenset()
    """What must be nowhere in the ledger: secrets, meter points, addresses."""
    restored: bool = False
    """Whether an older ledger was put back on the way: of what came after it, it knows no attempt."""

    @property
    def checks(self) -> Mapping[str, Check]:
        """The invariants that hold for it."""
        return CHECKS

    @cached_property
    def books(self) -> Books:
        """The ledger, read once."""
        return read_books(self.ledger)

    @cached_property
    def attempts(self) -> dict[str, float]:
        """When each attempt of the ledger began, by the name its requests bear; the first, where two have one name."""
        began = (
            "SELECT chunk_id, attempt.attempt, min(started_at) FROM attempt JOIN chunk USING (chunk_seq)"
            " GROUP BY chunk_id, attempt.attempt"
        )
        return {f"{chunk}-{attempt}": at for chunk, attempt, at in _rows(self.ledger, began)}

    @cached_property
    def told(self) -> list[tuple[Sent, list[tuple[str, str | None]]]]:
        """Every request that changes something, and the records it is about; of real processes nothing is known."""
        return [(sent, list(_records_in(sent))) for sent in self.sent if sent.changes and sent.life >= 0]

    @cached_property
    def held(self) -> dict[tuple[str, str, str], Record]:
        """What the API holds at the end."""
        return _held(self.after)


class Witness:
    """A second reader of the ledger: what it sees has been committed."""

    def __init__(self, ledger: str) -> None:
        self._ledger = ledger
        self._connection: Any = None

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
            self._connection = connected(self._ledger)
        found = self._connection.execute(
            "SELECT 1 FROM chunk JOIN attempt USING (chunk_seq) WHERE chunk_id = ? AND attempt.attempt = ?"
            " AND chunk.attempt = attempt.attempt AND state = 'in_flight' AND ended_at IS NULL".replace(
                "?", "%s" if is_postgres(self._ledger) else "?"
            ),
            (chunk, int(attempt)),
        ).fetchone()
        return found is not None


def is_postgres(ledger: str) -> bool:
    """Whether a ledger is in PostgreSQL."""
    return ledger.startswith("postgresql")


def connected(ledger: str) -> Any:
    """A connection of our own to a ledger, for reading."""
    if is_postgres(ledger):
        import psycopg

        return psycopg.connect(ledger.replace("+psycopg", "", 1), autocommit=True)
    path = ledger.removeprefix("sqlite:///")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)


_OPEN: dict[str, Any] = {}
"""Connections to ledgers under judgement, so that each check need not open one."""


def _rows(ledger: str, query: str) -> list[Any]:
    with ExitStack() as stack:
        connection = _OPEN.get(ledger) or stack.enter_context(closing(connected(ledger)))
        return list(connection.execute(query).fetchall())


def states_in(ledger: str) -> dict[str, int]:
    """Records per state over leaf chunks; nothing for a ledger that is not there yet."""
    try:
        found = _rows(ledger, "SELECT state, sum(n) FROM chunk WHERE state <> 'split' GROUP BY state")
    except sqlite3.OperationalError:  # killed before the file or the tables were made
        return {}
    except Exception as error:
        if type(error).__name__ == "UndefinedTable":
            return {}
        raise
    return {state: int(n) for state, n in found}


@dataclass
class Books:
    """The ledger as the checker reads it: the state of every record, by phase, user and id."""

    state: dict[tuple[str, str, str], str]
    reason: dict[tuple[str, str, str], str]
    times: Counter[tuple[str, str, str]]


@lru_cache(maxsize=1024)
def unpacked(page: bytes) -> pa.Table:
    """A page of the ledger: an Arrow stream in a frame of zstd; of earlier versions bare, or an Arrow file."""
    if page.startswith(b"\x28\xb5\x2f\xfd"):
        page = pa.CompressedInputStream(pa.BufferReader(page), "zstd").read()
    reader = pa.ipc.open_file if page.startswith(b"ARROW1") else pa.ipc.open_stream
    return reader(pa.BufferReader(page), options=pa.ipc.IpcReadOptions(use_threads=False)).read_all()


@lru_cache(maxsize=1024)
def ids_in(page: bytes) -> tuple[tuple[str, str], ...]:
    """The users and ids of a page of the ledger, an Arrow file."""
    table = unpacked(page)
    return tuple(zip(table["user_id"].to_pylist(), table["id"].to_pylist(), strict=True))


def read_books(ledger: str) -> Books:
    books = Books({}, {}, Counter())
    for phase, state, reason, manifest in _rows(
        ledger, "SELECT phase, state, reason, manifest FROM chunk WHERE state <> 'split' ORDER BY chunk_seq"
    ):
        for user, own in ids_in(manifest):
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
        return {
            "id": content["resourceId"],
            "type": content["resourceType"],
            "location": content.get("locationId"),
        }
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


def _wanted(record: Record) -> Record:
    """What a record of the plan asks for; a resource hangs where its path says, a vehicle on its user alone."""
    kind, body = KINDS[record["phase"]], record["body"]
    if kind == "resource":
        body = body | {"locationId": record["location_id"]}
    return _plain(kind, body)


def _is_there(record: Record, held: dict[tuple[str, str, str], Record]) -> bool:
    """Whether a store shows a record of the plan as done."""
    there = held.get(_target(record))
    if record["body"] is None:
        return there is None or set(there["points"]) <= set(record["keys"])
    return there is not None and there == _wanted(record)


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
    _OPEN[evidence.ledger] = connected(evidence.ledger)
    try:
        return [f"{name}: {wrong}" for name, one in evidence.checks.items() for wrong in one(evidence)]
    finally:
        _OPEN.pop(evidence.ledger).close()


@check("I3")
def record_conservation(of: Evidence) -> Iterator[str]:
    """Every planned record has exactly one state, and nothing else has one."""
    books = of.books
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
        if len(ids_in(manifest)) != n:
            yield f"chunk {seq} says {n} records and holds others"


@check("I4")
def nothing_acknowledged_is_lost(of: Evidence) -> Iterator[str]:
    """What is acknowledged is held, with that content."""
    state, held = of.books.state, of.held
    for record in of.plan:
        if state.get(key_of(record)) == "acknowledged" and not _is_there(record, held):
            yield f"{key_of(record)} is acknowledged; held is {held.get(_target(record))}"


@check("I5")
def no_phantoms(of: Evidence) -> Iterator[str]:
    """What was made was planned, and its request named an attempt of the ledger."""
    planned = {_target(record) for record in of.plan}
    for effect in of.effects:
        if effect["request"] == 0:
            continue
        if effect["effect"] != "delete" and (effect["kind"], effect["user"], effect["id"]) not in planned:
            yield f"{effect['kind']} {effect['id']} was made and never planned"
        if effect["trace"] not in of.attempts and not of.restored:
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
            is_other = _plain(effect["kind"], effect["content"]) != _wanted(wanted[full])
            yield from [f"{key} was overwritten with other content"] * is_other


@check("I7")
def intent_comes_first(of: Evidence) -> Iterator[str]:
    """At the moment a request left, the ledger file already said so.

    Of real processes nobody sees that moment; but every request they sent came after its intent was written down.
    """
    for sent in of.sent:
        if sent.changes and not sent.intent:
            yield f"{sent.method} {sent.path} left without a committed intent ({sent.trace})"
    for line in of.requests:
        if not line["trace"] or of.restored:
            continue
        began = of.attempts.get(line["trace"])
        if began is None:
            yield f"request {line['request']} has no intent in the ledger ({line['trace']})"
        elif line["time"] < began:
            yield f"request {line['request']} came before its intent ({line['trace']})"


@check("I8")
def one_version_in_flight(of: Evidence) -> Iterator[str]:
    """No record is under way twice at once, and all its requests carry the same content."""
    busy: dict[tuple[int, str], float] = {}
    content: dict[str, str] = {}
    for sent, about in of.told:
        for target, body in about:
            until = busy.get((sent.life, target), 0.0)
            if sent.time < until:
                yield f"{target} was sent again while it was under way"
            busy[sent.life, target] = sent.ended if sent.ended is not None else sent.time
            if body is not None and content.setdefault(f"{target} {_manner(sent)}", body) != body:
                yield f"{target} was sent with other content"
    yield from _other_content_in_the_log(of)


def _other_content_in_the_log(of: Evidence) -> Iterator[str]:
    """A chunk is its content: whoever sent a batch of it, in whatever life, sent the same bytes."""
    bytes_of: dict[tuple[str, str], str] = {}
    for line in of.requests:
        digest = line["body_digest"]
        if not line["path"].endswith("/batch") or not line["trace"] or digest is None:
            continue
        chunk = line["trace"].rpartition("-")[0]
        if bytes_of.setdefault((chunk, line["path"]), digest) != digest:
            yield f"request {line['request']} carries other content than an earlier one of its chunk"


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
    books, held, before = of.books, of.held, _held(of.before)
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


UNTOLD = "untold"
"""What the ledger says of a record of which it does not claim to know what is held."""


def _holdings(of: Evidence, held: dict[Any, Record], before: dict[Any, Record]) -> Iterator[str]:
    """What the ledger believes to be held is held; and what was acknowledged it believes, with that content."""
    believed = {}
    for kind, page in _rows(of.ledger, "SELECT kind, page FROM holding"):
        kind = "resource" if kind == "vehicle" else kind
        digests = unpacked(page)["digest"].to_pylist()
        for (user, own), digest in zip(ids_in(page), digests, strict=True):
            believed[kind, user, own] = digest
            if (kind, user, own) not in held and digest != UNTOLD:
                yield f"the ledger believes {kind} {own} to be held"
    for record in of.plan:
        key, belief = key_of(record), believed.get(_target(record))
        if record["body"] is None or of.books.state.get(key) != "acknowledged":
            continue  # what gave something up may be gone or have changed
        wanted = UNTOLD if of.books.reason[key] == UNTOLD else record["digest"]
        if belief != wanted:
            yield f"{key} is acknowledged with content {wanted}; the ledger believes {belief} to be held"


def _refused_for_nothing(of: Evidence, books: Books) -> Iterator[str]:
    bad = of.poison
    for record in of.plan:
        blocked = record["user_id"] in bad or record["location_id"] in bad
        state = books.state.get(key_of(record))
        if state == "rejected" and record["id"] not in bad:
            yield f"{key_of(record)} was rejected and nothing is wrong with it ({books.reason[key_of(record)]})"
        if state == "blocked" and not blocked:
            yield f"{key_of(record)} is blocked and its parents are well ({books.reason[key_of(record)]})"


@check("I10")
def convergence(of: Evidence) -> Iterator[str]:
    """With the faults off, four lives settle everything; the last finds it settled, and changes nothing."""
    clean = [life for life in of.lives if not life.faulty]
    if not any(life.settled for life in clean[:MOST_STARTS]) or not clean[-1].settled:
        yield f"after {len(clean)} lives without faults it is not settled: {[one.states for one in clean]}"
    last = clean[-1]
    for sent in of.sent[last.first_sent : last.first_sent + last.sent]:
        if sent.changes:
            yield f"nothing was left to do, and {sent.method} {sent.path} was sent"


MOST_STARTS = 4
"""Starts without faults in which everything must be settled."""


@check("I11")
def parents_come_first(of: Evidence) -> Iterator[str]:
    """No child is created before its parent, nor is it asked for before its parent is there."""
    yield from _asked_for_too_early(of)
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


def _asked_for_too_early(of: Evidence) -> Iterator[str]:
    """The API refuses most children without a parent, so that their order shows in the requests alone."""
    since: dict[tuple[str, ...], float] = {("users", one["userId"]): 0.0 for one in of.before["users"]}
    since |= {("locations", one["userId"], one["locationId"]): 0.0 for one in of.before["locations"]}
    for effect in of.effects:
        if effect["effect"] == "create" and effect["kind"] == "user":
            since.setdefault(("users", effect["id"]), effect["time"])
        elif effect["effect"] == "create" and effect["kind"] == "location":
            since.setdefault(("locations", effect["user"], effect["id"]), effect["time"])
    for sent, about in of.told:
        if sent.method != "POST":
            continue
        for parent in {parent for target, _ in about for parent in _parents_of(sent, target)}:
            if since.get(parent, float("inf")) > sent.time:
                yield f"{sent.method} {sent.path} was sent before {'/'.join(parent)} was there"


def _parents_of(sent: Sent, target: str) -> Iterator[tuple[str, ...]]:
    """What must be there before a record can be made."""
    kind, user, *_ = target.split("/")
    parts = [unquote(part) for part in sent.path.split("/v1/", 1)[1].split("/")]
    if kind == "locations":
        yield ("users", user)
    elif kind == "resources" and parts[2:3] == ["locations"]:
        yield ("locations", parts[1], parts[3])
    elif kind == "resources":
        yield ("users", parts[1])


@check("I12")
def effort_is_bounded(of: Evidence) -> Iterator[str]:
    """Requests of a life stay within what splitting, retries and reading back can need.

    A chunk of n records is the root of at most 2n pieces, single records included, whatever is refused. Each goes
    out once, and once more after it was in doubt and is not there; beyond that a life may repeat what its allowance
    for retries allows: a tenth of its requests, or twenty. What was lost is looked for by id, each record of a
    piece, and again after the settle time; refused pieces are looked at before they are cut.
    """
    n = len(of.plan)
    for life in of.lives:
        mine = of.sent[life.first_sent : life.first_sent + life.sent]
        changes = sum(sent.changes for sent in mine)
        retries = max(RETRIES, len(mine) // 10)
        if changes > 4 * n + retries:
            yield f"life {life.number} sent {changes} changes for {n} records"
        if len(mine) - changes > READS * n + 2 * retries:
            yield f"life {life.number} sent {len(mine) - changes} reads for {n} records"
        at_once = Counter(sent.time for sent in mine if sent.life >= 0).most_common(1)
        if at_once and at_once[0][1] > AT_ONCE:
            yield f"life {life.number} sent {at_once[0][1]} requests in one instant"


RETRIES = 20
"""Repetitions a life may have whatever it sent."""
READS = 16
"""Reads for each record of the plan; the most seen in 900 schedules were 9, where much was refused and lost."""
AT_ONCE = 20
"""Requests in one instant of virtual time; at most eight are under way at once, and no answer takes no time."""


EXITS = {"rejected": 10, "blocked": 10, "in_doubt": 12, "planned": 15, "in_flight": 12}
ERRORS = {
    "AuthenticationError": 13,
    "ApiUnavailable": 15,
    "ContractError": 11,
    "GuardError": 11,
    "StorageError": 16,
    "ConnectionLost": 16,
    "BusyError": 14,
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
        yield from untrue_exit(life, codes)


def untrue_exit(life: Life, codes: set[int]) -> Iterator[str]:
    """The exit code is the worst of what the ledger says, and of what stopped the life."""
    if life.error is not None:
        codes = codes | {ERRORS.get(life.error, 1)}
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


@lru_cache(maxsize=256)
def spellings(text: str) -> tuple[bytes, ...]:
    """A text as the bytes it may lie about in; base64 at each of the three places it can begin at."""
    plain = text.encode()
    coded = [base64.b64encode(b" " * before + plain)[4:-4] for before in range(3)]
    quoted = quote(text, safe="").encode()
    return tuple(dict.fromkeys((plain, quoted, plain.hex().encode(), text.encode("utf-16-le"), *coded)))


@lru_cache(maxsize=1024)
def text_in(page: bytes) -> bytes:
    """Everything in a page of the ledger, unpacked."""
    return repr(unpacked(page).to_pydict()).encode()


@check("I14")
def it_keeps_silence(of: Evidence) -> Iterator[str]:
    """No canary lies in the bytes of the ledger, its log and its free pages, in any field, nor in what is packed.

    A server shows no files: of a ledger in PostgreSQL, every column of every table is read.
    """
    file = Path(of.ledger.removeprefix("sqlite:///"))
    raw = [path.read_bytes() for path in file.parent.glob(file.name + "*")] if file.is_file() else []
    everything = b"\n".join([*raw, *_fields(of.ledger)])
    for beginning, alike in _by_beginning(of.canaries).items():
        if len(alike) > 1 and not any(one in everything for one in spellings(beginning)):
            continue
        for canary in alike:
            if any(one in everything for one in spellings(canary)):
                yield f"{canary!r} lies in the ledger"


PAGES_BEGIN = (b"\x28\xb5\x2f\xfd", b"ARROW1", b"\xff\xff\xff\xff")
"""How a page begins: in a frame of zstd, as an Arrow file, as a bare Arrow stream."""


def _fields(ledger: str) -> Iterator[bytes]:
    """Every field of every table; of a page, what is packed in it."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    if is_postgres(ledger):
        tables = "SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'"
    for (table,) in _rows(ledger, tables):
        for row in _rows(ledger, f"SELECT * FROM {table}"):
            for value in row:
                if isinstance(value, bytes):
                    yield text_in(value) if value.startswith(PAGES_BEGIN) else value
                elif isinstance(value, str):
                    yield value.encode()


def _by_beginning(texts: frozenset[str]) -> dict[str, list[str]]:
    """Texts by how they begin: where that is not, in any spelling, none of them can be."""
    found: dict[str, list[str]] = {}
    for text in sorted(texts):
        found.setdefault(text[:12], []).append(text)
    return found


@check("I19")
def nothing_is_left_open(of: Evidence) -> Iterator[str]:
    """A life gives back what it took, and its memory is bounded."""
    for life in of.lives:
        if life.left_open > 0 and not life.killed:
            yield f"life {life.number} left {life.left_open} descriptors, threads or tasks behind"
        if life.peak_megabytes > 600:
            yield f"life {life.number} took {life.peak_megabytes:.0f} MB for {len(of.plan)} records"


@check("I16")
def history_is_legal(of: Evidence) -> Iterator[str]:
    """The file is sound; every move follows from the one before, and is allowed; nothing stays in flight."""
    if not is_postgres(of.ledger) and _rows(of.ledger, "PRAGMA quick_check") != [("ok",)]:
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
