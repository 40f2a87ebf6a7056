"""Partitions of a run, leased to workers; and one rate for all of them.

A worker on another machine opens the ledger beside the run that holds its lock. It can write nothing until it has
claimed a partition: the claim is a fence of its own, which the triggers let pass for that lane alone. A claim is
kept by renewing it. One that expired is taken over, under a new fence: from that moment on, what its former holder
wants to commit is refused. A run that takes the ledger over throws all claims away.

Leases are measured by the clock of the database, which all workers share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from connectors.ledger import opening
from connectors.ledger import tables as t
from connectors.ledger.address import file_of
from connectors.ledger.store import Ledger, engine_for, storage_trouble
from schemas.errors import ClaimLost, MeterfeedError, SettingsError, StorageError
from schemas.ledger import ChunkRow, Identity, State
from schemas.sharing import Claim, Standing, trouble_from_text, trouble_to_text

MOST_LOST: Final = 5
"""Holders a partition may lose before nobody takes it any more: it may be what kills them."""

NEXT_TURN: Final = "fact:next_turn"
"""When the first request may leave that no worker has a turn for yet, on the database's clock."""

_FENCES: Final = 1 << 20
"""Claims of one partition under one run; far more than any run lives through."""


@contextmanager
def join_ledger(url: str, *, identity: Identity) -> Iterator[SharedLedger]:
    """Open the ledger beside the run that holds its lock, to share the partitions of that run.

    Raises:
        SettingsError: the ledger is not one that several machines can share, or another tenant's.
        StorageError: it cannot be used, or was written by another version.
    """
    if file_of(url) is not None:
        raise SettingsError(
            "Runs can be shared with other workers only over a ledger in PostgreSQL.",
            cure="Set METERFEED_LEDGER to a postgresql:// URL, or unset METERFEED_SHARED.",
        )
    with storage_trouble():
        engine = engine_for(url)
    try:
        ledger = SharedLedger(engine, path=None)
        ledger.check(identity)
        yield ledger
    finally:
        engine.dispose()


@dataclass
class SharedLedger(Ledger):
    """The ledger as a worker sees it: it writes to the partition it holds, and to nothing else.

    Attributes:
        held: the claim it works under; without one, nothing of a run can be written.
    """

    held: Claim | None = None

    def check(self, identity: Identity) -> None:
        """See that the ledger is there, of our version, and of this tenant under the same id key."""
        with self._transaction() as connection:
            if opening.is_empty(connection):
                raise StorageError("There is no ledger yet.", cure="Start the run first, then its workers.")
            opening.check_in_force(connection)
            if opening.found_version(connection) != t.SCHEMA_VERSION:
                raise StorageError(
                    "The run and its workers are of different versions of meterfeed.",
                    cure="Install the same version everywhere.",
                )
            if identity.key not in opening.key_names(connection):
                raise SettingsError(
                    "METERFEED_ID_KEY is another one here than where the run is.",
                    cure="Give every worker the settings of the run.",
                )
            opening.check_identity(connection, identity, 0.0, relink=False)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """Begin by holding on to the claim: whoever takes it over waits until this has ended."""
        with super()._transaction() as connection:
            held = self.held
            if self._open is None and held is not None:
                own = sa.select(t.claim.c.lane).where(*_is(held)).with_for_update(read=True)
                if connection.execute(own).first() is None:
                    raise ClaimLost
            yield connection

    def chunks(
        self,
        *,
        states: Sequence[State],
        run_seq: int | None = None,
        phase: str | None = None,
        lane: int | None = None,
    ) -> Iterator[ChunkRow]:
        """Chunks of the partition that is held, oldest first: of the run it is a partition of, and of no other."""
        if self.held is not None:
            run_seq, lane = self.held.run_seq, self.held.lane
        return super().chunks(states=states, run_seq=run_seq, phase=phase, lane=lane)

    def absorb(self, merge: Mapping[str, Any], *, at_least: int = 1) -> int:  # noqa: ARG002  the run's to do
        """Nothing: the run that shares folds what all its workers sent into the holdings."""
        return 0

    # ------------------------------------------------------------ the run that shares
    def post(self, run_seq: int, *, lanes: int, steps: int, fence: int) -> None:
        """Offer the partitions of a run; `fence` is that of the run, which must be the newest."""
        with self._transaction() as connection:
            self._be_newest(connection, fence)
            connection.execute(t.claim.delete())
            opening.put_meta(connection, {NEXT_TURN: "0"})
            first = {"run_seq": run_seq, "step": 0, "steps": steps, "fence": -fence * _FENCES, "lost": 0}
            connection.execute(
                t.claim.insert(), [{**first, "lane": lane, "expires_at": 0.0} for lane in range(1, lanes + 1)]
            )

    def stop(self, trouble: MeterfeedError) -> None:
        """Let nobody claim any more, and those who hold a partition come to an end."""
        with self._transaction() as connection:
            connection.execute(
                t.claim.update().where(t.claim.c.trouble.is_(None)).values(trouble=trouble_to_text(trouble))
            )

    def retract(self, run_seq: int, *, fence: int) -> None:
        """Take the offer back. What workers that were lost had under way is in doubt."""
        with self._transaction() as connection:
            self._be_newest(connection, fence)
            connection.execute(t.claim.delete())
            self._doubt(connection, _clock(connection), fence, t.chunk.c.run_seq == run_seq)

    def _be_newest(self, connection: sa.Connection, fence: int) -> None:
        if opening.meta(connection, "fence") != str(fence):
            raise StorageError("Another run took the ledger over.", cure="Run `meterfeed resume`.")

    def standing(self) -> Standing | None:
        """How far the shared run is; None when none is shared at this moment."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(t.claim).order_by(t.claim.c.lane)).all()
            now = _clock(connection)
        return _standing(rows, now) if rows else None

    # ------------------------------------------------------------ the worker
    def take(self, owner: str, *, seconds: float, lane: int | None = None) -> Claim | None:
        """Claim a partition that is due and that nobody alive holds; what its last holder left is in doubt.

        Args:
            owner: a name to show.
            seconds: how long it is held without being renewed.
            lane: this one or none.
        """
        self.forget()
        every = t.claim.alias()
        due = sa.select(sa.func.min(every.c.step)).scalar_subquery()
        troubled = sa.select(every.c.lane).where(every.c.trouble.is_not(None)).exists()
        with self._transaction() as connection:
            now = _clock(connection)
            query = (
                sa.select(t.claim)
                .where(
                    t.claim.c.step == due,
                    t.claim.c.step < t.claim.c.steps,
                    ~troubled,
                    t.claim.c.lost < MOST_LOST,
                    sa.or_(t.claim.c.owner.is_(None), t.claim.c.expires_at < now),
                )
                .order_by(t.claim.c.lane)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = connection.execute(query if lane is None else query.where(t.claim.c.lane == lane)).first()
            if row is None:
                return None
            lost = row.owner is not None
            claim = Claim(row.run_seq, row.lane, row.step, row.fence - 1, taken_over=lost)
            lane_of_it = (t.claim.c.run_seq == claim.run_seq, t.claim.c.lane == claim.lane)
            connection.execute(
                t.claim.update()
                .where(*lane_of_it)
                .values(fence=claim.fence, owner=owner, expires_at=now + seconds, lost=row.lost + lost)
            )
            mine = (t.chunk.c.run_seq == claim.run_seq, t.chunk.c.lane == claim.lane)
            self._doubt(connection, now, claim.fence, *mine)
        self.held, self.fence = claim, claim.fence
        return claim

    @staticmethod
    def _doubt(connection: sa.Connection, now: float, fence: int, *which: sa.ColumnElement[bool]) -> None:
        connection.execute(
            t.chunk.update()
            .where(t.chunk.c.state == State.IN_FLIGHT, *which)
            .values(state=State.IN_DOUBT, reason="worker_died", attempt_ended_at=now, fence=fence)
        )

    def renew(self, claim: Claim, *, seconds: float) -> bool:
        """Keep the claim; False when the run is coming to an end, and the work should too.

        Raises:
            ClaimLost: somebody else holds it.
        """
        with self._transaction() as connection:
            until = _clock(connection) + seconds
            kept = connection.execute(t.claim.update().where(*_is(claim)).values(expires_at=until))
            if not kept.rowcount:
                raise ClaimLost
            troubled = sa.select(t.claim.c.lane).where(t.claim.c.trouble.is_not(None))
            return connection.execute(troubled).first() is None

    def leave(self, claim: Claim, *, done: bool, trouble: MeterfeedError | None = None) -> None:
        """Let go of a claim.

        Args:
            done: its step is through; otherwise somebody else may go on with it.
            trouble: what must end the whole run.
        """
        with self._transaction() as connection:
            connection.execute(
                t.claim.update()
                .where(*_is(claim))
                .values(
                    owner=None,
                    fence=claim.fence - 1,
                    step=claim.step + done,
                    trouble=None if trouble is None else trouble_to_text(trouble),
                )
            )
        self.forget()

    def forget(self) -> None:
        """Hold nothing any more; what another worker took over is not ours to let go."""
        self.held, self.fence = None, 0

    # ------------------------------------------------------------ one rate
    def lease_turns(self, count: int, *, rate: float) -> float:
        """Reserve the next `count` turns of all workers together; in how many seconds the first one is."""
        with self._transaction() as connection:
            found = connection.execute(
                sa.select(t.meta.c.value).where(t.meta.c.key == NEXT_TURN).with_for_update()
            ).scalar()
            now = _clock(connection)
            start = max(now, float(found or 0))
            opening.put_meta(connection, {NEXT_TURN: repr(start + count / rate)})
            return start - now


def _is(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    """That the claim is still the one its holder knows."""
    return (
        t.claim.c.run_seq == claim.run_seq,
        t.claim.c.lane == claim.lane,
        t.claim.c.fence == claim.fence,
    )


def _standing(rows: Sequence[sa.Row[Any]], now: float) -> Standing:
    due = min(row.step for row in rows)
    alive = {row.lane for row in rows if row.owner is not None and row.expires_at >= now}
    trouble = next((trouble_from_text(row.trouble) for row in rows if row.trouble is not None), None)
    hopeless = next((row.lane for row in rows if row.lost >= MOST_LOST and row.step < row.steps), None)
    if trouble is None and hopeless is not None:
        trouble = StorageError(
            f"{MOST_LOST} workers were lost while they sent partition {hopeless - 1}.",
            cure="Look for what ends them (memory?), then run `meterfeed resume`.",
        )
    return Standing(
        run_seq=rows[0].run_seq,
        lanes=len(rows),
        done=sum(row.step >= row.steps for row in rows),
        held=len(alive),
        lost=sum(row.lost for row in rows),
        open=tuple(
            row.lane
            for row in rows
            if row.lane not in alive and row.step == due and row.step < row.steps and trouble is None
        ),
        trouble=trouble,
    )


def _clock(connection: sa.Connection) -> float:
    """Seconds, by the clock that all workers share."""
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
