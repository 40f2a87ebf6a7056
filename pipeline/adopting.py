"""Building the ledger from what the API holds: for a tenant that is filled already, or a ledger that is lost.

There is no call that lists all locations: two requests for every user, so a large tenant takes hours. What was read is
kept in the ledger, aside from what it believes, after every few hundred users, and a killed one goes on there. When all
is read it becomes what the ledger believes, in one transaction: users without their locations would be taken for
customers who have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import polars as pl

from pipeline.ending import summary_of
from pipeline.holdings import KEY, still_marked
from pipeline.job import fingerprint
from pipeline.order import Order, Ports
from pipeline.partition import bucket, user_key
from pipeline.ports import LedgerBook, Notice
from pipeline.protection import FLAGS_PAGE
from pipeline.reconciling import READ_AT_ONCE, STALE_SECONDS
from pipeline.remote import Remote
from pipeline.session import ADOPTING, Session, open_session
from pipeline.vanishing import evidence_page
from schemas.ledger import ADOPTED, BUCKETS
from schemas.outcomes import Kind
from schemas.rules.keys import is_safe_in_a_url
from schemas.summary import Summary


def aside(kind: Kind) -> str:
    """The ledger's pages of what was read so far."""
    return f"adopting_{kind.value}"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a reading that is under way was made with: one that would be made otherwise begins anew.

    Attributes:
        scope: the profile that shall speak for what is read.
        key: fingerprint of the key its digests are made with.
        mark: the newest run that sent anything. An older one that is resumed makes the reading void when it begins
            to send (`Session.begin_sending`).
        began_at: UTC seconds.
        starts: so many times it was begun or gone on with.
    """

    scope: str
    key: str
    mark: int
    began_at: float
    starts: int = 1


async def adopt(order: Order, ports: Ports) -> Summary:
    """Build the ledger's holdings anew from what the API holds; sends nothing that changes anything.

    Where the ledger is not the newest copy, what its runs have not sent may have been sent since: those are given up,
    and so is every plan that waits. Exports that were loaded before may be loaded again: only what is absent is
    created.
    """
    async with open_session(order, ports) as session:
        await session.sign_in()
        await session.settle_the_past()
        given_up = await session.unfinished() if session.ledger.doubt else []
        for run_id in given_up:
            await session.give_up(run_id)
        remote = Remote(session.wire(), session.identity(), order.profiles[0].name if order.profiles else "")
        progress = await session.durable(_take_up, session, order, remote)
        listed, unaddressed = await _listed(session, remote)
        left = await session.durable(_left, session.ledger, listed)
        read = listed.height - left.height
        for users in left.iter_slices(READ_AT_ONCE):
            held = await remote.held_of(users["user_id"].to_list())
            await session.durable(_keep, session.ledger, users, held)
            read += users.height
            ports.world.notice(Notice("adopt", read, listed.height, "users"))
            session.raise_if_stopping()
        counts, plans = await session.durable(_believe, session)
        await session.durable(session.ledger.trust)
        return summary_of(
            order.command,
            order.environment,
            ports.world,
            adopted=counts,
            given_up=given_up,
            plans_given_up=plans,
            starts=progress.starts,
            users_read=left.height,
            users_without_address=unaddressed,
        )


def _take_up(session: Session, order: Order, remote: Remote) -> Progress:
    """Go on where an interrupted one of the same kind was, or begin."""
    ledger, now = session.ledger, session.ports.world.now()
    key = fingerprint(remote.identity.ledger_key or remote.identity.key)
    fresh = Progress(remote.scope, key, session.newest_sent(), now)
    text = ledger.recall(ADOPTING)
    if text and not order.afresh:
        before = Progress(**json.loads(text))
        is_same = before == replace(fresh, began_at=before.began_at, starts=before.starts)
        if is_same and now - before.began_at < STALE_SECONDS:
            fresh = replace(before, starts=before.starts + 1)
    if fresh.starts == 1:
        _forget(ledger)
    ledger.remember({ADOPTING: json.dumps(asdict(fresh))})
    return fresh


async def _listed(session: Session, remote: Remote) -> tuple[pl.DataFrame, int]:
    """`user_id` and `bucket` of every user, bucket by bucket: so each page of the ledger is written few times.

    And how many of somebody else's there are that cannot be asked for: their ids do not fit into an address.
    """
    pages = [pl.Series("user_id", [], pl.String)]
    read = 0
    async for users in remote.users():
        pages.append(pl.Series("user_id", users, pl.String))
        read += len(users)
        session.ports.world.notice(Notice("list", read, None, "users"))
        session.raise_if_stopping()
    named = pl.concat(pages).to_frame()
    reachable = named.filter(is_safe_in_a_url("user_id", of_users=True))
    placed = reachable.with_columns(bucket(user_key(pl.col("user_id"))).alias("bucket"))
    return placed.sort("bucket", "user_id"), named.height - reachable.height


def _left(ledger: LedgerBook, listed: pl.DataFrame) -> pl.DataFrame:
    """Users still to be read: those not read yet, and those read whom the list does not show any more."""
    left = []
    for number in range(BUCKETS):
        wanted = listed.filter(pl.col("bucket") == number)
        read = ledger.holdings(aside(Kind.USER), range(number, number + 1))
        if read is None:
            left.append(wanted)
            continue
        known = read.select("user_id", "bucket")
        left += [wanted.join(known, on="user_id", how="anti"), known.join(wanted, on="user_id", how="anti")]
    return pl.concat(left).sort("bucket", "user_id")


def _keep(ledger: LedgerBook, users: pl.DataFrame, held: Mapping[Kind, pl.DataFrame]) -> None:
    """Put aside all that was read of some users, instead of what was read of them before."""
    numbers = users["bucket"].unique().sort().to_list()
    for kind in Kind:
        read = held[kind].unique(KEY, keep="first", maintain_order=True)
        for number in numbers:
            before = ledger.holdings(aside(kind), range(number, number + 1))
            page = read.filter(pl.col("bucket") == number)
            if before is not None:
                page = pl.concat([before.join(users, on="user_id", how="anti"), page])
            if before is not None or page.height:
                ledger.store_holdings(aside(kind), number, page)


def _believe(session: Session) -> tuple[dict[str, int], list[str]]:
    """What was read is what the ledger believes; the records of each kind, and plans that rested on something else.

    Since when an export did not name a record is forgotten: the ledger may have missed the one that named it again.
    """
    ledger = session.ledger
    counts = dict.fromkeys((kind.value for kind in Kind), 0)
    for kind, number, page in _pages(ledger, aside):
        if page.height:
            page = page.sort(KEY)
            flags = ledger.holdings(FLAGS_PAGE, range(number, number + 1)) if kind is Kind.LOCATION else None
            page = page if flags is None else still_marked(page, flags)
        ledger.store_holdings(kind.value, number, page)
        counts[kind.value] += page.height
    _empty(ledger, evidence_page)
    _forget(ledger)
    newest = ledger.runs(limit=1, brief=True)
    ledger.remember({ADOPTED: str(newest[0].run_seq if newest else 0)})
    return counts, session.give_up_plans()


def _forget(ledger: LedgerBook) -> None:
    _empty(ledger, aside)
    ledger.remember({ADOPTING: ""})


def _empty(ledger: LedgerBook, name: Callable[[Kind], str]) -> None:
    for kind, number, page in _pages(ledger, name):
        if page.height:
            ledger.store_holdings(name(kind), number, page.clear())


def _pages(ledger: LedgerBook, name: Callable[[Kind], str]) -> Iterator[tuple[Kind, int, pl.DataFrame]]:
    """Every page there could be; one that is not there is empty."""
    for kind in Kind:
        for number in range(BUCKETS):
            page = ledger.holdings(name(kind), range(number, number + 1))
            yield kind, number, pl.DataFrame() if page is None else page
