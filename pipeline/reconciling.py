"""Reading back: does the API hold what the ledger believes? Nothing is changed, and a killed one goes on.

There is no call that lists all locations: two requests for every user, so a large tenant takes hours. Progress and
what was found are in the ledger after every few hundred users. The rate is capped twice, by the settings for all that
meterfeed sends and by this command's own.
"""

from __future__ import annotations

import bisect
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.delivery.readback import Found, Reader
from pipeline.ending import summary_of
from pipeline.order import Order, Ports
from pipeline.partition import bucket, bucket_of, user_key
from pipeline.ports import LedgerBook, Notice
from pipeline.remote import DRIFTS, Remote, Throttle, drift
from pipeline.sampling import confidence
from pipeline.session import Session, open_session
from schemas.errors import ApiUnavailable
from schemas.ledger import BUCKETS, State
from schemas.masking import masked_id
from schemas.outcomes import Exit, Kind
from schemas.rules.keys import is_safe_in_a_url
from schemas.summary import Summary

READ_AT_ONCE = 200
"""Users read back before progress is written down."""
SAMPLE = 1000
"""Users a sample reads back."""
OWN_RATE = 50.0
"""Requests per second at most, unless the command line says otherwise: reading back is never urgent."""
LISTED = 200
"""Differences named in the summary; the files name all."""
STALE_SECONDS = 7 * 86_400.0
"""An interrupted reconciliation older than this begins anew: what it read says little of today."""
PROGRESS = "reconcile"
"""The fact under which the ledger keeps how far a reconciliation came."""
PAGE = "drift"
"""The ledger's pages of what it found so far."""
DRIFT_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "drift": pl.String(),
        "user_id": pl.String(),
        "id": pl.String(),
        "bucket": pl.UInt8(),
    }
)
DIFFERS = "Done; what the API holds is not what the ledger believes."


@dataclass(slots=True)
class Progress:
    """How far a reconciliation has come.

    Attributes:
        which: all, touched or sample.
        mark: the newest run that sent anything; what was touched or drawn is another set after the next one.
        seed: of the sample.
        began_at: UTC seconds.
        listed: whether the list of users was gone through.
        last: bucket and user id of the last user read.
        users_read: so far.
    """

    which: str
    mark: int
    seed: int
    began_at: float
    listed: bool = False
    last: tuple[int, str] = (-1, "")
    users_read: int = 0
    starts: int = field(default=1)

    def to_text(self) -> str:
        """As a fact of the ledger."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """Read back what `to_text` wrote."""
        document = json.loads(text)
        return cls(**{**document, "last": tuple(document["last"])})


async def reconcile(order: Order, ports: Ports) -> Summary:
    """Read users back and compare what the API holds with what the ledger believes.

    Which users: `all`, those `touched` by the newest run, or a `sample`. With `all`, the list of users is read as
    well: it shows users that the ledger does not know, and users that are there twice.
    """
    async with open_session(order, ports) as session:
        await session.sign_in()
        await session.settle_the_past()
        remote = _remote(session, order)
        progress = await session.durable(_take_up, session, order)
        if progress.which == "all" and not progress.listed:
            await _read_the_list(session, remote, progress)
        total, wanted = await session.durable(_wanted, session.ledger, progress)
        for users in wanted:
            await _read_back(session, remote, progress, users, total)
        found = await session.durable(_found, session.ledger)
        files = _written(session, found)
        await session.durable(_clear, session.ledger)
        population = await session.durable(lambda: len(_known_users(session.ledger)))
        return _told(order, ports, progress, population, found, files)


# ------------------------------------------------------------------ where it stands
def _take_up(session: Session, order: Order) -> Progress:
    """Go on where an interrupted one of the same kind was, or begin."""
    ledger, now = session.ledger, session.ports.world.now()
    which = order.run or "touched"
    mark = session.newest_sent()
    text = ledger.recall(PROGRESS)
    if text and not order.afresh:
        before = Progress.from_text(text)
        same = before.which == which and (which == "all" or before.mark == mark)
        if same and now - before.began_at < STALE_SECONDS:
            before.starts += 1
            return before
    _clear(ledger)
    return Progress(which, mark, int(session.ports.world.random() * 2**32), now)


def _clear(ledger: LedgerBook) -> None:
    held = ledger.holdings(PAGE, range(BUCKETS))
    if held is not None:
        for number in held["bucket"].unique():
            ledger.store_holdings(PAGE, int(number), held.clear())
    ledger.remember({PROGRESS: ""})


def _keep(ledger: LedgerBook, progress: Progress, fresh: pl.DataFrame) -> None:
    """What was found first, then how far that is: done twice, it is found once."""
    for (number,), part in fresh.partition_by("bucket", as_dict=True).items():
        before = ledger.holdings(PAGE, range(int(number), int(number) + 1))
        both = part if before is None else pl.concat([before, part])
        ledger.store_holdings(PAGE, int(number), both.unique(maintain_order=True))
    ledger.remember({PROGRESS: progress.to_text()})


def _found(ledger: LedgerBook) -> pl.DataFrame:
    held = ledger.holdings(PAGE, range(BUCKETS))
    return pl.DataFrame(schema=DRIFT_SCHEMA) if held is None else held.sort("kind", "drift", "user_id", "id")


def _remote(session: Session, order: Order) -> Remote:
    profile = order.profiles[0] if order.profiles else None
    throttle = Throttle(session.ports.world, order.rate or OWN_RATE)
    return Remote(session.wire(), session.identity(), profile.name if profile else "", throttle.turn)


# ------------------------------------------------------------------ the list of users
async def _read_the_list(session: Session, remote: Remote, progress: Progress) -> None:
    """Users the ledger does not know, and users that are there twice.

    Pages shift while somebody else registers users, which shows one user twice as well: only one that two readings
    of the list show twice is doubled.
    """
    known = await session.durable(_known_users, session.ledger)
    unknown, twice = await _listed(session, remote, known)
    if twice:
        twice &= (await _listed(session, remote, known))[1]
    reader = Reader(remote.ask, lambda _points: [])
    strangers = pl.DataFrame({"user_id": sorted(unknown)}, schema={"user_id": pl.String})
    asked = strangers.select(
        "user_id", is_safe_in_a_url("user_id", of_users=True).alias("can_be")
    ).iter_rows()
    # Whose id does not fit into an address is of somebody else; the list must do.
    there = [user for user, can_be in asked if not can_be or await _is_there(session, reader, user)]
    progress.listed = True
    lines = [("unexpected", user) for user in there] + [("doubled", user) for user in sorted(twice)]
    fresh = _lines("user", pl.DataFrame(lines, schema={"drift": pl.String, "id": pl.String}, orient="row"))
    await session.durable(_keep, session.ledger, progress, fresh)


async def _is_there(session: Session, reader: Reader, user: str) -> bool:
    found = await reader.user_is_there(user)
    session.raise_if_stopping()  # what was not asked for any more was not found either
    if found is Found.UNKNOWN:
        raise ApiUnavailable(
            "A user that only the list of users shows could not be read.", cure="Start again later."
        )
    return found is Found.AS_SENT


async def _listed(
    session: Session, remote: Remote, known: npt.NDArray[np.uint64]
) -> tuple[set[str], set[str]]:
    unknown: set[str] = set()
    seen: set[int] = set()
    twice: set[str] = set()
    read = 0
    async for page in remote.user_pages():
        named = pl.DataFrame({"id": page}, schema={"id": pl.String})
        keys = named.select(user_key(pl.col("id"))).to_series().to_numpy()
        for user, key, is_known in zip(page, keys.tolist(), np.isin(keys, known).tolist(), strict=True):
            if not is_known:
                unknown.add(user)
            if key in seen:
                twice.add(user)
            seen.add(key)
        read += len(page)
        session.ports.world.notice(Notice("list", read, None, "users"))
        session.raise_if_stopping()
    return unknown, twice


def _known_users(ledger: LedgerBook) -> npt.NDArray[np.uint64]:
    keys = [np.empty(0, np.uint64)]
    for number in range(BUCKETS):
        page = ledger.holdings(Kind.USER.value, range(number, number + 1))
        if page is not None:
            keys.append(page.select(user_key(pl.col("id"))).to_series().to_numpy())
    return np.concatenate(keys)


# ------------------------------------------------------------------ users by id
def _wanted(ledger: LedgerBook, progress: Progress) -> tuple[int, Iterator[list[str]]]:
    """How many users there are to read in all, and those still to be read, some at a time, in a fixed order."""
    if progress.which == "touched":
        return _left(_touched(ledger, progress.mark), progress)
    counts = [len(_users(ledger, number)) for number in range(BUCKETS)]
    if progress.which == "all":
        return sum(counts), _some((_users(ledger, number) for number in range(BUCKETS)), progress)
    return _left(_drawn(ledger, counts, progress.seed), progress)


def _left(by_bucket: Sequence[list[str]], progress: Progress) -> tuple[int, Iterator[list[str]]]:
    return sum(map(len, by_bucket)), _some(iter(by_bucket), progress)


def _some(by_bucket: Iterator[list[str]], progress: Progress) -> Iterator[list[str]]:
    start_after = progress.last
    for number, users in enumerate(by_bucket):
        rest = [user for user in users if (number, user) > start_after]
        yield from (rest[start : start + READ_AT_ONCE] for start in range(0, len(rest), READ_AT_ONCE))


def _users(ledger: LedgerBook, number: int) -> list[str]:
    page = ledger.holdings(Kind.USER.value, range(number, number + 1))
    return [] if page is None else page["id"].sort().to_list()


def _touched(ledger: LedgerBook, run_seq: int) -> list[list[str]]:
    states = [State.ACKNOWLEDGED, State.REJECTED, State.IN_DOUBT]
    chunks = [
        chunk.manifest.select("user_id", "bucket") for chunk in ledger.chunks(states=states, run_seq=run_seq)
    ]
    by_bucket: list[list[str]] = [[] for _ in range(BUCKETS)]
    if chunks:
        for user, number in pl.concat(chunks).unique().sort("bucket", "user_id").iter_rows():
            by_bucket[number].append(user)
    return by_bucket


def _drawn(ledger: LedgerBook, counts: Sequence[int], seed: int) -> list[list[str]]:
    """A simple random sample without replacement: the same seed draws the same users."""
    count = sum(counts)
    chance = random.Random(seed)  # noqa: S311  for a sample, not for a secret
    drawn = sorted(chance.sample(range(count), min(SAMPLE, count)))
    chosen: list[list[str]] = []
    before, taken = 0, 0
    for number, size in enumerate(counts):
        upto = bisect.bisect_left(drawn, before + size)
        places = drawn[taken:upto]
        users = _users(ledger, number) if places else []
        chosen.append([users[place - before] for place in places])
        before, taken = before + size, upto
    return chosen


async def _read_back(
    session: Session, remote: Remote, progress: Progress, users: Sequence[str], total: int
) -> None:
    held = await remote.held_of(users)
    believed = await session.durable(_believed, session.ledger, users)
    parts = [pl.DataFrame(schema=DRIFT_SCHEMA)]
    for kind in Kind:
        found = drift(believed[kind], held[kind])
        for name in DRIFTS:
            records: pl.DataFrame = getattr(found, name)
            parts.append(_lines(kind.value, records.select("user_id", "id", pl.lit(name).alias("drift"))))
    progress.last = (bucket_of(users[-1]), users[-1])
    progress.users_read += len(users)
    await session.durable(_keep, session.ledger, progress, pl.concat(parts))
    session.ports.world.notice(Notice("reconcile", progress.users_read, total, "users"))
    session.raise_if_stopping()


def _lines(kind: str, records: pl.DataFrame) -> pl.DataFrame:
    if "user_id" not in records.columns:
        records = records.with_columns(pl.col("id").alias("user_id"))
    placed = records.with_columns(
        pl.lit(kind).alias("kind"), bucket(user_key(pl.col("user_id"))).alias("bucket")
    )
    return placed.select(pl.col(name).cast(dtype) for name, dtype in DRIFT_SCHEMA.items())


def _believed(ledger: LedgerBook, users: Sequence[str]) -> dict[Kind, pl.DataFrame | None]:
    wanted = pl.DataFrame({"user_id": list(users)}, schema={"user_id": pl.String})
    numbers = sorted(set(wanted.select(bucket(user_key(pl.col("user_id")))).to_series().to_list()))
    believed: dict[Kind, pl.DataFrame | None] = {}
    for kind in Kind:
        pages = [ledger.holdings(kind.value, range(number, number + 1)) for number in numbers]
        found = [page.join(wanted, on="user_id", how="semi") for page in pages if page is not None]
        believed[kind] = pl.concat(found) if found else None
    return believed


# ------------------------------------------------------------------ telling
def _written(session: Session, found: pl.DataFrame) -> dict[str, str]:
    """All that differs, as Parquet and for a spreadsheet; ids are not masked, so these files are private."""
    with session.ports.shelf.fresh("reconcile", now=session.ports.world.now()) as shelf:
        shelf.write_table("drift", iter([found.drop("bucket")]))
        shelf.copy_table("drift")
        return {"drift": str(shelf.path / "drift.parquet"), "drift_csv": str(shelf.path / "drift.csv")}


def _told(
    order: Order,
    ports: Ports,
    progress: Progress,
    population: int,
    found: pl.DataFrame,
    files: dict[str, str],
) -> Summary:
    totals = {kind.value: dict.fromkeys(DRIFTS, 0) for kind in Kind}
    for kind, name, count in found.group_by("kind", "drift").len().iter_rows():
        totals[kind][name] = count
    differing = found["user_id"].n_unique() if found.height else 0
    extra: dict[str, Any] = {
        "users": progress.which,
        "users_read": progress.users_read,
        "users_differing": differing,
        "starts": progress.starts,
        "drift": totals,
        "drift_by_kind": dict(Counter(found["drift"].to_list())),
        "drift_listed": [
            {"kind": kind, "drift": name, "id": masked_id(one)}
            for kind, name, one in found.select("kind", "drift", "id").head(LISTED).iter_rows()
        ],
        "files": files,
    }
    if progress.which == "sample":
        extra["sample"] = confidence(
            read=progress.users_read, differing=differing, users=population, seed=progress.seed
        )
    summary = summary_of(
        order.command,
        order.environment,
        ports.world,
        exits={Exit.DONE_WITH_REJECTS} if found.height else set(),
        **extra,
    )
    return replace(summary, verdict=DIFFERS) if found.height else summary
